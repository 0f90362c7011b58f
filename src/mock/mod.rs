//! Mock servers: part of the product (`mailwave mock`), used by the quickstart, the tests and the benches.
//!
//! They are as strict as the services they stand for, they know the truth and can be asked for it, and they share
//! no code with the clients they judge: this module depends on `model` only.

pub mod ews;
pub mod graph;
pub mod imap;
pub mod server;
mod service;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// The world as the mocks see it: handed in, so that they run under virtual time.
pub trait World: Send + Sync {
    /// Milliseconds since 1970.
    fn now(&self) -> i64;
    /// Waits.
    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Wire {
    /// The mock answers.
    Answered(http::Response<Bytes>),
    /// The connection fails before the request is read.
    NeverArrived,
    /// The connection fails after the request was read: it was acted on, will be, or was not.
    NoAnswer,
}
