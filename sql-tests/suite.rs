//! Lists every test of the whole database and runs those that the arguments choose.

use std::sync::Arc;

use libtest_mimic::Arguments;
use sql_tests::scripts::Comparisons;
use sql_tests::{catching_up, embedded, oracle, scripts, simulation};

fn main() {
    let arguments = Arguments::from_args();
    let comparisons = Arc::new(Comparisons::default());
    let trials = scripts::trials(&comparisons).into_iter();
    let trials = trials.chain(oracle::trials()).chain(catching_up::trials()).chain(embedded::trials()).chain(simulation::trials());
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if comparisons.is_any() {
        println!("{comparisons}");
    }
    conclusion.exit();
}
