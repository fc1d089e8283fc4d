//! Union: the changes of all inputs together (UNION ALL).

use headwater_types::{ChangeBatch, Result, Watermarks};

use crate::{Finished, Operator, OperatorSpec, Output, StatePlace, Stateless, Step};

/// All rows of `inputs` inputs of one schema. The watermark of a column is the least of the inputs'; none if one has none.
#[derive(Debug, Clone)]
pub struct Union {
    inputs: usize,
}

impl Union {
    /// `inputs` inputs, at least one, whose columns have the same types.
    #[must_use]
    pub fn new(inputs: usize) -> Self {
        Self { inputs }
    }

    /// The columns that carry a watermark, given those of each input.
    #[must_use]
    pub fn watermarked(inputs: &[Vec<usize>]) -> Vec<usize> {
        let Some((first, others)) = inputs.split_first() else { return Vec::new() };
        first.iter().copied().filter(|c| others.iter().all(|o| o.contains(c))).collect()
    }
}

impl OperatorSpec for Union {
    fn name(&self) -> &'static str {
        "Union"
    }

    fn describe(&self) -> String {
        format!("{} inputs", self.inputs)
    }

    fn stateless(&self) -> Option<&dyn Stateless> {
        Some(self)
    }

    fn open(&self, _place: &mut StatePlace) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.clone()))
    }
}

impl Stateless for Union {
    fn apply(&self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        out.push(batch);
        Ok(())
    }
}

impl Operator for Union {
    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        self.apply(input, batch, out)
    }

    fn finish(&mut self, step: &Step, _out: &mut Output) -> Result<Finished> {
        let least = step.watermarks.iter().skip(1).fold(step.watermarks.first().cloned(), |all, one| Some(all?.least(one)));
        Ok(Finished { watermarks: least.unwrap_or_else(Watermarks::none), due: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn the_least_watermark_counts() {
        let mut bench = Bench::new(Union::new(2), 2);
        bench.epoch(&[], &[(0, 0, 5), (0, 1, 9)]);
        assert_eq!(bench.output_watermarks.get(0), None);
        bench.epoch(&[], &[(1, 0, 7)]);
        assert_eq!((bench.output_watermarks.get(0), bench.output_watermarks.get(1)), (Some(5), None));
        assert_eq!(Union::watermarked(&[vec![0, 1], vec![0]]), vec![0]);
    }
}
