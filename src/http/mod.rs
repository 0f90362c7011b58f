//! The one HTTP seam. Requests carry replayable octets; errors say whether the request may have been sent.
//!
//! Redirects and retries below this seam are off; HTTP/1.1 pools. `client` talks TCP and TLS; `in_process` calls a
//! mock's handler in the same process, for the quickstart and for simulation.

mod address;
mod client;
mod in_process;
pub mod oauth;
mod retry_after;

pub use address::check_url;
pub use client::{HttpsClient, HttpsOptions};
pub use in_process::{Delivery, InProcess};
pub use retry_after::retry_after;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::Error;

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// From the first octet sent to the last received. When it passes, the outcome is unknown.
    pub deadline: Duration,
    /// Largest response body, in bytes; a larger one is an error (`MayHaveBeenSent`), never an allocation.
    pub max_response: usize,
}

impl Default for Exchange {
    fn default() -> Self {
        Exchange { deadline: Duration::from_secs(100), max_response: 16 << 20 }
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not an octet of the request left us (no connection, TLS refused). May be retried without looking.
    #[error("{0}")]
    NotSent(Error),
    /// It may have been sent and acted on: the outcome is unknown.
    #[error("{0}")]
    MayHaveBeenSent(Error),
}

impl HttpError {
    /// The error inside.
    pub fn error(&self) -> &Error {
        match self {
            HttpError::NotSent(e) | HttpError::MayHaveBeenSent(e) => e,
        }
    }
}

/// Sends one request and receives one response. Never follows a redirect, never sends twice.
#[async_trait]
pub trait HttpClient: Send + Sync {
    /// Exchanges a request (absolute URI) for a response with its whole body.
    ///
    /// # Errors
    /// See [`HttpError`]; in doubt it is `MayHaveBeenSent`. A response with an error status is a response.
    async fn execute(
        &self,
        request: http::Request<Bytes>,
        exchange: &Exchange,
    ) -> Result<http::Response<Bytes>, HttpError>;
}
