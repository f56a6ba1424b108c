//! Pictures that need no script: SVG whose colours follow the page's theme. Each says in words what it shows.

use std::fmt::Write as _;

use crate::page::escaped;

/// A frame: pixels of the picture, and the numbers at its edges.
pub(super) struct Frame {
    width: f64,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
    out: String,
}

/// Room for axes.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 34.0;

impl Frame {
    /// A picture of so many pixels that shows these stretches of numbers.
    pub(super) fn new(width: f64, height: f64, x: (f64, f64), y: (f64, f64)) -> Self {
        Self {
            width,
            height,
            x: apart(x),
            y: apart(y),
            out: String::new(),
        }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (self.width - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        TOP + (self.y.1 - y) / (self.y.1 - self.y.0) * (self.height - TOP - BOTTOM)
    }

    /// Something drawn.
    pub(super) fn push(&mut self, element: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(element)
            .expect("a string takes everything");
    }

    /// Grid and numbers. `told` writes a number of the y axis.
    pub(super) fn axes(
        &mut self,
        x_name: &str,
        told_x: &dyn Fn(f64) -> String,
        told_y: &dyn Fn(f64) -> String,
        binary: bool,
    ) {
        let (left, right) = (LEFT, self.width - RIGHT);
        for value in ticks(self.y, 5.0, binary) {
            let y = self.py(value);
            self.push(format_args!(
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 5.0,
                y + 4.0,
                escaped(&told_y(value))
            ));
        }
        let bottom = self.height - BOTTOM;
        for value in ticks(self.x, 5.0, false) {
            let x = self.px(value);
            self.push(format_args!(
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                escaped(&told_x(value))
            ));
        }
        self.push(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, right),
            self.height - 4.0,
            escaped(x_name)
        ));
        if self.y.0 < 0.0 && self.y.1 > 0.0 {
            let y = self.py(0.0);
            self.push(format_args!(
                "<path class=\"zero\" d=\"M{left} {y:.1}H{right}\"/>"
            ));
        }
    }

    /// Points as one path of dots: a dot takes a dozen characters.
    pub(super) fn dots(&mut self, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (x, y) in points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
        {
            write!(path, "M{:.1} {:.1}h0", self.px(*x), self.py(*y))
                .expect("a string takes everything");
        }
        self.push(format_args!("<path class=\"dots\" d=\"{path}\"/>"));
    }

    /// A straight line from edge to edge, through zero, with its interval around it.
    pub(super) fn fitted(&mut self, slope: f64, ends: Option<(f64, f64)>) {
        let (from, to) = self.x;
        let line = |frame: &Self, slope: f64| (frame.py(slope * from), frame.py(slope * to));
        let (a, b) = (self.px(from), self.px(to));
        if let Some((low, high)) = ends {
            let ((l1, l2), (h1, h2)) = (line(self, low), line(self, high));
            self.push(format_args!(
                "<path class=\"band\" d=\"M{a:.1} {h1:.1}L{b:.1} {h2:.1}L{b:.1} {l2:.1}L{a:.1} {l1:.1}Z\"/>"
            ));
        }
        let (y1, y2) = line(self, slope);
        self.push(format_args!(
            "<path class=\"fit\" d=\"M{a:.1} {y1:.1}L{b:.1} {y2:.1}\"/>"
        ));
    }

    /// A level from edge to edge.
    pub(super) fn level(&mut self, y: f64) {
        let y = self.py(y);
        self.push(format_args!(
            "<path class=\"bound\" d=\"M{LEFT} {y:.1}H{}\"/>",
            self.width - RIGHT
        ));
    }

    /// A stair: at each place up to the value given there.
    pub(super) fn steps(&mut self, class: usize, points: &[(f64, f64)]) {
        let mut path = format!("M{:.1} {:.1}", self.px(self.x.0), self.py(0.0));
        for (x, y) in points {
            write!(path, "H{:.1}V{:.1}", self.px(*x), self.py(*y))
                .expect("a string takes everything");
        }
        write!(path, "H{:.1}", self.px(self.x.1)).expect("a string takes everything");
        self.push(format_args!(
            "<path class=\"steps s{}\" d=\"{path}\"/>",
            class % 8
        ));
    }

    /// The picture; `what` is what it shows, for those who do not see it.
    pub(super) fn svg(self, what: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            self.width,
            self.height,
            escaped(what),
            self.out
        )
    }
}

/// One row of [`intervals`].
pub(super) struct Interval {
    pub(super) name: String,
    pub(super) low: f64,
    pub(super) estimate: f64,
    pub(super) high: f64,
    /// Where more is a leak; infinite: nowhere.
    pub(super) class: &'static str,
    pub(super) told: String,
}

/// Intervals below one another: what is known per unit of each factor.
pub(super) fn intervals(rows: &[Interval]) -> String {
    const ROW: f64 = 20.0;
    const NAMES: f64 = 84.0;
    const TOLD: f64 = 150.0;
    let (width, height) = (560.0, ROW * rows.len() as f64 + 26.0);
    let least = rows.iter().map(|row| row.low).fold(0.0, f64::min);
    let most = rows.iter().map(|row| row.high).fold(0.0, f64::max);
    // Of many sizes at once (2,816 B beside 0.4 B) a straight axis shows only the largest: signed roots show all.
    let root = |value: f64| value.signum() * value.abs().sqrt();
    let (from, to) = apart((root(least), root(most)));
    let px = |value: f64| NAMES + (root(value) - from) / (to - from) * (width - NAMES - TOLD);
    let mut out = String::new();
    let mut push = |element: std::fmt::Arguments<'_>| {
        out.write_fmt(element).expect("a string takes everything")
    };
    push(format_args!(
        "<path class=\"zero\" d=\"M{:.1} 4V{:.1}\"/>",
        px(0.0),
        height - 20.0
    ));
    push(format_args!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">0 B</text>",
        px(0.0),
        height - 6.0
    ));
    for (place, row) in rows.iter().enumerate() {
        let y = ROW * (place as f64 + 0.5) + 4.0;
        push(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><path class=\"bar {class}\" d=\"M{:.1} {y:.1}H{:.1}\"/><circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4.5\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            NAMES - 8.0,
            y + 4.0,
            escaped(&row.name),
            px(row.low),
            px(row.high),
            px(row.estimate),
            width - TOLD + 8.0,
            y + 4.0,
            escaped(&row.told),
            class = row.class,
        ));
    }
    format!(
        "<svg class=\"narrow\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"95 % intervals per unit of each factor; the table above holds the numbers\">{out}</svg>"
    )
}

/// A stretch of numbers that has a length.
fn apart((from, to): (f64, f64)) -> (f64, f64) {
    if from.is_finite() && to.is_finite() && to > from {
        (from, to)
    } else if from.is_finite() && to.is_finite() {
        (from - 1.0, from + 1.0)
    } else {
        (0.0, 1.0)
    }
}

/// Round numbers within a stretch: 1, 2, 5 · 10ⁿ, or powers of 2.
fn ticks((from, to): (f64, f64), most: f64, binary: bool) -> Vec<f64> {
    let least = (to - from) / most;
    let step = if binary {
        2_f64.powf(least.log2().ceil())
    } else {
        let ten = 10_f64.powf(least.log10().floor());
        ten * [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|factor| factor * ten >= least)
            .unwrap_or(10.0)
    };
    let first = (from / step - 1e-9).ceil();
    (0..12)
        .map(|i| (first + f64::from(i)) * step)
        .take_while(|value| *value <= to + step * 1e-9)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let near = |one: &[f64], other: &[f64]| {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-9)
        };
        assert!(near(
            &ticks((0.0, 60.0), 5.0, false),
            &[0.0, 20.0, 40.0, 60.0]
        ));
        assert!(near(
            &ticks((-3000.0, 9000.0), 5.0, true),
            &[0.0, 4096.0, 8192.0]
        ));
        assert!(ticks(apart((7.0, 7.0)), 5.0, false).len() > 2);
        assert!(ticks(apart((f64::NAN, 7.0)), 5.0, false).len() > 2);
    }
}
