//! A disk that takes no more, wherever in a run that happens: one clear line, and a lake that the next run goes on with.

use std::process::Command;

use crate::support::{LITTLE, assert_same, clean, finish, little_corpus, one_line, run, values, written};

#[test]
fn a_disk_that_is_full_is_told_and_costs_nothing_that_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    little_corpus(path);
    run(path, "whole", &LITTLE);
    let expected = values(path, "whole");
    let mut n_refused = 0;
    // No file may grow beyond so many blocks of 512 bytes: the system refuses the rest of a write, as a full disk does. With the
    // signal ignored, the program gets the error.
    for blocks in [1, 4, 8, 16, 32, 64] {
        let mut command = Command::new("sh");
        clean(&mut command, path);
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_neuronlake"), "run", "--lake", "lake"]).args(LITTLE);
        let ran = finish(&mut command);
        if ran.code == Some(0) {
            continue;
        }
        let line = one_line(&ran, 1);
        assert!(line.contains("File too large"), "{blocks}: {line}");
        n_refused += 1;
    }
    assert!(n_refused >= 2, "only {n_refused} runs met a full disk");
    run(path, "lake", &LITTLE);
    assert_same(&values(path, "lake"), &expected);
    assert!(written(&run(path, "lake", &LITTLE)).values().all(|n| *n == 0));
}
