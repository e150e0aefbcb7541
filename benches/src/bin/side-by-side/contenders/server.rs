//! Contenders that are servers: started for one run in its directory, spoken to over a socket, stopped after it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const START_WITHIN: Duration = Duration::from_secs(10);
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Whether a program can be started; if not, why.
pub(crate) fn missing(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    (!found).then(|| format!("{program} is not installed"))
}

/// A running server. Dropping it ends it.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts one on a free port, which this option sets.
    pub(crate) fn start(mut command: Command, port_option: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        command.args([port_option, &port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { child: child.expect("the server starts"), port };
        let tries = START_WITHIN.as_millis() / CHECK_EVERY.as_millis();
        let up = (0..tries).any(|_| {
            std::thread::sleep(CHECK_EVERY);
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(up, "the server listens");
        server
    }

    pub(crate) fn connect(&self) -> Line {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_nodelay(true).expect("set");
        Line { read: BufReader::new(stream.try_clone().expect("cloned")), write: stream, out: Vec::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection: what is to be sent is gathered in `out`.
pub(crate) struct Line {
    read: BufReader<TcpStream>,
    write: TcpStream,
    pub(crate) out: Vec<u8>,
}

impl Line {
    /// Sends what was gathered.
    pub(crate) fn send(&mut self) {
        self.write.write_all(&self.out).expect("sent");
        self.out.clear();
    }

    /// The next line of the answer, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.read.read_line(&mut line).expect("answered");
        line.trim_end().to_string()
    }

    /// The next bytes of the answer, and the line end behind them.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count + 2];
        self.read.read_exact(&mut bytes).expect("answered");
        bytes.truncate(count);
        bytes
    }
}
