//! A server of the test's own: the program as a person starts it, on free ports.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::support::program;

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) http: String,
    /// `grpc://127.0.0.1:PORT`
    pub(crate) flight: String,
}

impl Serving {
    /// Serves a lake; further arguments and variables of the environment may say how.
    pub(crate) fn start(lake: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = program(Path::new("/"));
        command.args(["serve", "--lake", lake, "--listen", "127.0.0.1:0", "--flight", "127.0.0.1:0"]).args(arguments);
        command.envs(environment.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |start: &str| {
            let line = lines.next().expect("a server says where it listens").unwrap();
            let at = line.find(start).unwrap_or_else(|| panic!("expected {start} in '{line}'"));
            line[at..].to_owned()
        };
        let (http, flight) = (address("http://"), address("grpc://"));
        Self { child, http, flight }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it did: its exit status.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let killed = std::process::Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
