//! The server takes the client's FIN for "I have said everything, go on": it keeps its own side open, and waits for ever.
//!
//! That is what hyper's `half_close(true)` does to a quiet stream; on one that writes, the next event would meet an RST and end
//! it. To have a truth that does not depend on the traffic, the descriptor itself is kept (a duplicate) and never shut.
//! Truth: one descriptor in CLOSE_WAIT per client that sent FIN, and the node that holds it. The kernel's share is not in it.

use std::{
    cell::RefCell,
    collections::LinkedList,
    os::fd::{AsFd, OwnedFd},
};

use tokio::net::TcpStream;

use super::{Kind, Leak, Plant};

pub(super) const KIND: Kind = Kind {
    name: "half-close",
    unit: Some("descriptor"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Every connection whose client sent FIN stays in CLOSE_WAIT with its descriptor; bytes (of the process, beside the descriptor) per such connection.",
    plant: |plant| {
        Box::new(HalfClose {
            plant,
            sockets: RefCell::default(),
        })
    },
};

struct HalfClose {
    plant: Plant,
    sockets: RefCell<LinkedList<OwnedFd>>,
}

impl Leak for HalfClose {
    fn client_closed(&self, socket: &TcpStream) -> bool {
        if !self.plant.strikes() {
            return false;
        }
        match socket.as_fd().try_clone_to_owned() {
            Ok(descriptor) => {
                self.sockets.borrow_mut().push_back(descriptor);
                self.plant.took(self.plant.node::<OwnedFd>());
                true
            }
            Err(error) => {
                tracing::warn!(%error, "half-close: no descriptor is left to leak");
                false
            }
        }
    }
}
