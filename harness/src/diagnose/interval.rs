//! How much per unit, and how surely: an estimate with everything that could hide in it (the method, §6.4).

use super::{
    design::{Design, Term},
    observations::Precision,
    stats::{Estimate, order::range, student},
};

/// From this share kept back by the allocator on, part of a leak may sit in free pages.
const RETAINED: f64 = 0.5;
/// The share of the footprint that may hide there.
const HIDDEN: f64 = 0.5;

/// An effect per unit of a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The slope, its standard error, its degrees of freedom.
    pub estimate: Estimate,
    /// What cannot be excluded whatever the noise: the floor per unit, plus half a step of the signal in every row.
    pub systematic: f64,
    /// What free but retained memory may hide, upwards only.
    pub hidden: f64,
}

impl Interval {
    /// The interval of one term in a model that contains it.
    pub fn of(design: &Design, model: &[Term], term: Term, precision: &Precision) -> Self {
        let fit = design.fit_robust(model);
        let half_step = precision.half_step();
        let steps = if half_step > 0.0 {
            half_step * design.leaning(&fit, term)
        } else {
            0.0
        };
        let exposure = range(design.column(term)).max(1.0);
        let hidden = if precision.retained > RETAINED {
            HIDDEN * precision.footprint / exposure
        } else {
            0.0
        };
        Self {
            estimate: design.slope(&fit, term),
            systematic: steps + design.floor(term),
            hidden,
        }
    }

    /// Half the width, at this two-sided confidence.
    pub fn half_width(&self, confidence: f64) -> f64 {
        let Estimate { se, dof, .. } = self.estimate;
        if !se.is_finite() || dof < 1.0 {
            return f64::INFINITY;
        }
        student::quantile(0.5 + confidence / 2.0, dof) * se + self.systematic
    }

    /// The lower end of the 95 % interval.
    pub fn low(&self) -> f64 {
        self.estimate.slope - self.half_width(0.95)
    }

    /// The upper end of the 95 % interval.
    pub fn high(&self) -> f64 {
        self.estimate.slope + self.half_width(0.95) + self.hidden
    }

    /// The one-sided 95 % bound: "clean up to".
    pub fn upper(&self) -> f64 {
        self.estimate.slope + self.half_width(0.90) + self.hidden
    }

    /// The same in another unit.
    pub fn scaled(&self, by: f64) -> Self {
        Self {
            estimate: Estimate {
                slope: self.estimate.slope * by,
                se: self.estimate.se * by,
                dof: self.estimate.dof,
            },
            systematic: self.systematic * by,
            hidden: self.hidden * by,
        }
    }
}
