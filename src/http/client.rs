//! HTTP/1.1 over TCP and TLS. STUB: signatures are fixed, behaviour comes.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Exchange, HttpClient, HttpError};
use crate::model::{Error, Kind, Scope};

/// How to connect.
#[derive(Debug, Clone, Default)]
pub struct HttpsOptions {
    /// A PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Bound of one connection attempt; `None` for 20 s.
    pub connect_timeout: Option<Duration>,
}

/// The real client.
#[derive(Debug)]
pub struct HttpsClient {}

impl HttpsClient {
    /// # Errors
    /// The CA file cannot be read or holds no certificate.
    pub fn new(_options: &HttpsOptions) -> Result<HttpsClient, Error> {
        Ok(HttpsClient {})
    }
}

#[async_trait]
impl HttpClient for HttpsClient {
    async fn execute(
        &self,
        _request: http::Request<Bytes>,
        _exchange: &Exchange,
    ) -> Result<http::Response<Bytes>, HttpError> {
        Err(HttpError::NotSent(Error::new(Kind::Internal, Scope::Run, "not built yet")))
    }
}
