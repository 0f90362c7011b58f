//! Asking a mock for its truth, over one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde::de::DeserializeOwned;

/// A connection to a port that tells the truth.
pub struct Asked {
    address: String,
    token: String,
    stream: BufReader<TcpStream>,
}

impl Asked {
    /// `address` without a scheme.
    pub fn new(address: &str, token: &str) -> Asked {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Asked {
            address: address.to_owned(),
            token: token.to_owned(),
            stream: BufReader::with_capacity(1 << 20, stream),
        }
    }

    /// The answer's octets; `None`: what was asked for is not there.
    pub fn octets(&mut self, path: &str) -> Option<Vec<u8>> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.address, self.token
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length) = (String::new(), None);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if status.is_empty() {
                status.clone_from(&line);
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>().unwrap());
            }
        }
        let mut answer = vec![0; length.expect("the answer has a length")];
        self.stream.read_exact(&mut answer).unwrap();
        status.contains(" 200 ").then_some(answer)
    }

    /// The answer, read.
    pub fn json<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        self.octets(path).map(|octets| serde_json::from_slice(&octets).unwrap())
    }
}
