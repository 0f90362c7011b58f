//! The Graph target against the mock, without a wire between them.

use std::sync::Arc;

use mailwave::env::Env;
use mailwave::http::{Delivery, InProcess};
use mailwave::mock::Wire;
use mailwave::mock::graph::GraphMock;
use mailwave::target::Target;
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};

/// A target whose requests are handed to the mock in this process.
pub fn target(env: &Env, mock: &Arc<GraphMock>, upload_from: u64) -> Arc<dyn Target> {
    let _ = upload_from;
    let mock = mock.clone();
    let http = InProcess::new(env, move |request| {
        let mock = mock.clone();
        async move {
            match mock.handle(request).await {
                Wire::Answered(response) => Delivery::Answered(response),
                Wire::NeverArrived => Delivery::NeverArrived,
                Wire::NoAnswer => Delivery::NoAnswer,
            }
        }
    });
    let token = TokenSettings::ClientCredentials {
        token_url: "http://127.0.0.1/tenant/oauth2/v2.0/token".to_owned(),
        client_id: "trial".to_owned(),
        client_secret: "secret".to_owned().into(),
        scope: "https://graph.microsoft.com/.default".to_owned(),
    };
    let settings = GraphSettings::new("http://127.0.0.1/v1.0", token);
    Arc::new(GraphTarget::new(env, Arc::new(http), settings).expect("the settings are right"))
}
