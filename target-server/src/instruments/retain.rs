//! The positive control: memory kept on purpose, to the byte. A judge that does not see it must not be believed about leaks.

/// A chain of blocks, each one allocation, whose link is part of the block. A `Vec` of boxes would double and spoil the line.
#[derive(Default)]
pub(crate) struct Retained {
    head: Link,
}

type Link = Option<Block>;

/// A slice of links: the first points to the next block, the others are the weight (16 bytes each, written, so resident).
struct Block(Box<[Link]>);

/// The unit of a block's size.
const LINK: usize = size_of::<Link>();
const _: () = assert!(LINK == 16, "an optional fat pointer has no tag");

impl Retained {
    /// Bytes of one block when `bytes` are asked for: at least one link, in whole links.
    pub(crate) fn block_bytes(bytes: usize) -> usize {
        bytes.max(1).next_multiple_of(LINK)
    }

    /// Keeps one more block of [`Self::block_bytes`].
    pub(crate) fn keep(&mut self, bytes: usize) {
        let links = Self::block_bytes(bytes) / LINK;
        let mut weight = Vec::with_capacity(links);
        weight.push(self.head.take());
        weight.resize_with(links, || None);
        self.head = Some(Block(weight.into_boxed_slice()));
    }

    /// Frees all blocks. A loop, because dropping the head would recurse through the whole chain.
    pub(crate) fn release(&mut self) {
        while let Some(mut block) = self.head.take() {
            self.head = block.0[0].take();
        }
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::Retained;

    #[test]
    fn a_long_chain_is_freed_without_recursion() {
        let mut kept = Retained::default();
        for _ in 0..1_000_000 {
            kept.keep(16);
        }
        kept.release();
        assert!(kept.head.is_none());
    }

    #[test]
    fn a_block_is_what_was_asked_for_in_whole_links() {
        for (asked, block) in [
            (0, 16),
            (1, 16),
            (16, 16),
            (17, 32),
            (256, 256),
            (1000, 1008),
        ] {
            assert_eq!(Retained::block_bytes(asked), block, "{asked}");
        }
    }
}
