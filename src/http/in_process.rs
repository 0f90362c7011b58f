//! HTTP without a wire: the request is handed to a handler in the same process.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Exchange, HttpClient, HttpError};
use crate::env::Env;
use crate::model::{Error, Kind, Scope};

/// What became of a request on a wire that is not there.
#[derive(Debug)]
pub enum Delivery {
    /// The handler answered.
    Answered(http::Response<Bytes>),
    /// The connection failed before the request was read.
    NeverArrived,
    /// The connection failed after the request was read: it may have been acted on, or will be.
    NoAnswer,
}

type Handler = dyn Fn(http::Request<Bytes>) -> Pin<Box<dyn Future<Output = Delivery> + Send>> + Send + Sync;

/// An [`HttpClient`] that calls a handler.
pub struct InProcess {
    env: Env,
    handler: Box<Handler>,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

impl InProcess {
    /// Calls `handler` for each request.
    pub fn new<F, Fut>(env: &Env, handler: F) -> InProcess
    where
        F: Fn(http::Request<Bytes>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Delivery> + Send + 'static,
    {
        InProcess { env: env.clone(), handler: Box::new(move |r| Box::pin(handler(r))) }
    }
}

#[async_trait]
impl HttpClient for InProcess {
    async fn execute(
        &self,
        request: http::Request<Bytes>,
        exchange: &Exchange,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let lost = |what: &str| Error::temporary(Kind::Unreachable, Scope::Endpoint, what);
        match self.env.within(exchange.deadline, (self.handler)(request)).await {
            Some(Delivery::Answered(response)) if response.body().len() > exchange.max_response => {
                Err(HttpError::MayHaveBeenSent(lost("the answer is larger than allowed")))
            }
            Some(Delivery::Answered(response)) => Ok(response),
            Some(Delivery::NeverArrived) => {
                Err(HttpError::NotSent(lost("the connection failed before the request was sent")))
            }
            Some(Delivery::NoAnswer) => {
                Err(HttpError::MayHaveBeenSent(lost("the connection was lost before the answer")))
            }
            None => Err(HttpError::MayHaveBeenSent(lost("no answer within the deadline"))),
        }
    }
}
