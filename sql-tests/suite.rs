//! Lists every test of the whole database and runs those that the arguments choose.

use libtest_mimic::Arguments;
use sql_tests::{catching_up, oracle, scripts, simulation};

fn main() {
    let arguments = Arguments::from_args();
    let trials = scripts::trials().into_iter().chain(oracle::trials()).chain(catching_up::trials()).chain(simulation::trials());
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
