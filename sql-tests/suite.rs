//! Lists every test of the whole database and runs those that the arguments choose.

use libtest_mimic::Arguments;
use sql_tests::{catching_up, embedded, oracle, scripts, simulation};

fn main() {
    let arguments = Arguments::from_args();
    let groups = [scripts::trials(), oracle::trials(), catching_up::trials(), embedded::trials(), simulation::trials()];
    libtest_mimic::run(&arguments, groups.into_iter().flatten().collect()).exit();
}
