//! What an app proves itself with when it asks for tokens: one reading for every endpoint that has apps.

use super::build::Secrets;
use super::read::Section;
use super::settings::AppProof;

/// Ways an app proves itself.
pub(super) const PROOFS: [&str; 3] = ["client_secret", "client_certificate", "federated_token"];

/// The proof of an app. Outer `None`: it is wrong (and told). Inner: there is none.
pub(super) fn proof(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<Option<AppProof>> {
    let [secret, certificate, federated] = PROOFS.map(|key| s.secret(key));
    // A federated token is not asked for ahead: whoever gives it may give another one each time.
    secrets.named.extend(secret.clone());
    secrets.named.extend(certificate.clone());
    match PROOFS.into_iter().filter(|key| s.has(key)).collect::<Vec<_>>().as_slice() {
        [] => Some(None),
        [_] => secret
            .map(AppProof::Secret)
            .or(certificate.map(AppProof::Certificate))
            .or(federated.map(AppProof::Federated))
            .map(Some),
        [_, second, ..] => {
            s.wrong(second, "stands beside another proof of the same app", "keep one of them");
            None
        }
    }
}
