//! The Graph target against the mock, without a wire between them.

use std::sync::Arc;

use mailwave::env::Env;
use mailwave::http::{Delivery, InProcess};
use mailwave::mock::Wire;
use mailwave::mock::graph::GraphMock;
use mailwave::model::WriteMode;
use mailwave::target::Target;
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::transform::graph::Bounds;

/// A target whose requests are handed to the mock in this process.
pub fn target(env: &Env, mock: &Arc<GraphMock>, upload_from: u64) -> Arc<dyn Target> {
    writing(env, mock, upload_from, &[WriteMode::Json])
}

/// The same, with these write modes.
pub fn writing(env: &Env, mock: &Arc<GraphMock>, upload_from: u64, modes: &[WriteMode]) -> Arc<dyn Target> {
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
    let mut settings = GraphSettings::new("http://127.0.0.1/v1.0", token);
    settings.modes = modes.to_vec();
    // Small, so that attachments, upload sessions and the last step are gone with few octets.
    settings.bounds = Bounds { request: 3 * upload_from as usize, simple_file: upload_from as usize };
    Arc::new(GraphTarget::new(env, Arc::new(http), settings).expect("the settings are right"))
}
