//! Apps: proven by certificate or federated token, several to an endpoint, of one directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use bytes::Bytes;
use encodify::base64::URL_SAFE_NO_PAD;
use mailwave::guard::{Secret, SecretFrom};
use mailwave::http::oauth::{Certificate, Proof};
use mailwave::mock::Wire;
use mailwave::mock::graph::{App, Federated};
use mailwave::model::{Kind, Scope};
use mailwave::target::graph::AppRegistration;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::*;

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key")
}

fn certificate(key: &KeyPair) -> String {
    CertificateParams::new(Vec::new()).expect("names").self_signed(key).expect("a certificate").pem()
}

fn proven(proof: Proof) -> TokenSettings {
    let (token_url, scope) = (TOKEN_URL.to_owned(), "https://graph.test/.default".to_owned());
    TokenSettings::ClientAssertion { token_url, client_id: "app".to_owned(), proof, scope }
}

fn by_certificate(pem: &str) -> GraphSettings {
    let certificate = Certificate::from_pem(pem.as_bytes()).expect("readable");
    GraphSettings::new(BASE, proven(Proof::Certificate(Arc::new(certificate))))
}

fn only(app: App) -> GraphOptions {
    GraphOptions { apps: vec![App { client_id: "app".into(), ..app }], ..GraphOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn an_app_logs_in_with_its_certificate_each_time_with_a_new_assertion() {
    let key = rsa();
    let pem = certificate(&key);
    let desk = Desk::new(only(App { certificate: Some(pem.clone()), ..App::default() }));
    let (mailbox, _) = desk.open(by_certificate(&format!("{}{pem}", key.serialize_pem()))).await;
    for _ in 0..3 {
        desk.mock.revoke_tokens();
        mailbox.find(&all_stamps()).await.expect("with a new token");
    }
    assert_eq!(desk.mock.counters().tokens, 4, "the mock takes no assertion twice");

    let other = rsa();
    let settings = by_certificate(&format!("{}{}", other.serialize_pem(), certificate(&other)));
    let target = desk.target(settings);
    let error = target.open(ANN, "", Gate::unlimited(&desk.env)).await.err().expect("refused");
    assert_eq!((error.kind, error.scope), (Kind::Auth, Scope::Endpoint), "{error}");
    assert!(error.what.contains("invalid_client") && error.remedy.contains("certificate"), "{error:?}");
}

/// Signs any claims by RS256, as a client of somebody else's.
fn signed(key: &KeyPair, head: &Value, claims: &Value) -> String {
    let pair = RsaKeyPair::from_pkcs8(key.serialized_der()).expect("a key");
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("signed");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn asked_with(desk: &Desk, assertion: &str) -> u16 {
    let form = format!(
        "grant_type=client_credentials&client_id=app&scope=https%3A%2F%2Fgraph.test%2F.default\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}"
    );
    let request = http::Request::post(TOKEN_URL)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(form))
        .unwrap();
    let Wire::Answered(answer) = desk.mock.handle(request).await else { panic!("no answer") };
    answer.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn the_mocks_token_endpoint_refuses_assertions_that_prove_nothing() {
    let key = rsa();
    let pem = certificate(&key);
    let desk = Desk::new(only(App { certificate: Some(pem.clone()), ..App::default() }));
    let now = BEGIN / 1000;
    let print = {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der))
    };
    let head = json!({"alg": "RS256", "typ": "JWT", "x5t#S256": print});
    let claims = |jti: &str, change: &[(&str, Value)]| {
        let mut claims = json!({"aud": TOKEN_URL, "iss": "app", "sub": "app", "jti": jti,
            "nbf": now, "iat": now, "exp": now + 300});
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        claims
    };
    let good = signed(&key, &head, &claims("1", &[]));
    assert_eq!(asked_with(&desk, &good).await, 200, "RS256 is taken too");
    assert_eq!(asked_with(&desk, &good).await, 401, "but no assertion twice");
    for (what, change) in [
        ("another audience", ("aud", json!("https://elsewhere.test/token"))),
        ("ended", ("exp", json!(now - 100))),
        ("not yet valid", ("nbf", json!(now + 100))),
        ("too long a life", ("exp", json!(now + 4000))),
        ("another subject", ("sub", json!("other"))),
        ("another issuer", ("iss", json!("other"))),
        ("no id", ("jti", json!(""))),
    ] {
        let token = signed(&key, &head, &claims(what, &[change]));
        assert_eq!(asked_with(&desk, &token).await, 401, "{what}");
    }
    assert_eq!(asked_with(&desk, &signed(&rsa(), &head, &claims("2", &[]))).await, 401, "another key");
    let no_print = json!({"alg": "RS256", "typ": "JWT"});
    assert_eq!(asked_with(&desk, &signed(&key, &no_print, &claims("3", &[]))).await, 401, "no thumbprint");
    let none = json!({"alg": "none", "x5t#S256": print});
    assert_eq!(asked_with(&desk, &signed(&key, &none, &claims("4", &[]))).await, 401, "unsigned");
    assert_eq!(asked_with(&desk, "a.b.c").await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_federated_token_is_read_anew_for_each_request() {
    let key = rsa();
    let federated = Federated {
        issuer: "https://issuer.test".into(),
        subject: "system:serviceaccount:mail:mover".into(),
        certificate: certificate(&key),
    };
    let desk = Desk::new(only(App { federated: Some(federated.clone()), ..App::default() }));
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("token");
    let write = |end: i64| {
        let claims = json!({"iss": federated.issuer, "sub": federated.subject,
            "aud": "api://AzureADTokenExchange", "exp": end});
        std::fs::write(&path, signed(&key, &json!({"alg": "RS256"}), &claims)).expect("written");
    };
    let secret =
        Secret { from: SecretFrom::File(path.clone()), place: "mailwave.toml:7: federated_token".into() };
    let now = || desk.env.wall() / 1000;
    write(now() + 3600);
    let (mailbox, _) = desk.open(GraphSettings::new(BASE, proven(Proof::Federated(secret)))).await;
    // Two hours later the first token of the issuer is over, and a newer one lies there.
    tokio::time::sleep(Duration::from_secs(7200)).await;
    write(now() + 3600);
    mailbox.find(&all_stamps()).await.expect("with the newer one");
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let error = mailbox.find(&all_stamps()).await.expect_err("nobody replaced it");
    assert!(error.kind == Kind::Auth && error.remedy.contains("federated"), "{error:?}");
    std::fs::remove_file(&path).expect("removed");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let error = mailbox.find(&all_stamps()).await.expect_err("it is gone");
    assert!(
        error.what.contains("federated_token") && error.may_pass(),
        "it may be there again soon: {error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_for_another_tenant_is_never_sent_to_the_service() {
    const OURS: &str = "11111111-2222-3333-4444-555555555555";
    for (tenant, stops) in
        [(OURS, true), ("99999999-2222-3333-4444-555555555555", false), ("contoso.test", false)]
    {
        let theirs = "99999999-2222-3333-4444-555555555555".to_owned();
        let desk = Desk::new(GraphOptions { tenant_id: Some(theirs), ..GraphOptions::default() });
        let target = desk.target(GraphSettings { tenant: Some(tenant.into()), ..settings() });
        let opened = target.open(ANN, "", Gate::unlimited(&desk.env)).await;
        assert_eq!(opened.is_err(), stops, "{tenant}");
        let Some(error) = opened.err() else { continue };
        assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Auth, Scope::Endpoint, false));
        assert!(error.what.contains("another tenant"), "{error}");
        assert_eq!(desk.sent().len(), 1, "the token endpoint was asked, nobody else");
    }
}

#[tokio::test(start_paused = true)]
async fn mailboxes_are_spread_over_the_apps_and_stay_on_theirs() {
    let names = ["app-a", "app-b", "app-c"];
    let app = |name: &str| App { client_id: name.into(), client_secret: "s".into(), ..App::default() };
    let options = GraphOptions { apps: names.map(app).into(), ..GraphOptions::default() };
    let desk = Desk::new(options);
    let registration = |name: &str| AppRegistration {
        name: name.to_owned(),
        token: TokenSettings::ClientCredentials {
            token_url: TOKEN_URL.to_owned(),
            client_id: name.to_owned(),
            client_secret: "s".into(),
            scope: "https://graph.test/.default".to_owned(),
        },
    };
    let mut tokens: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for order in [[0, 1, 2], [2, 0, 1]] {
        let apps = order.map(|at| registration(names[at])).into();
        let target = desk.target(GraphSettings { apps, ..settings() });
        for n in 0..60 {
            let mailbox = format!("user{n}@example.org");
            target.open(&mailbox, "", Gate::unlimited(&desk.env)).await.expect("opens");
            for sent in desk.sent().iter().filter(|s| s.url.starts_with(BASE)) {
                let payload = sent.authorization.split('.').nth(1).expect("a JWT");
                let claims: Value =
                    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url"))
                        .expect("JSON");
                let app = claims["appid"].as_str().expect("an app").to_owned();
                tokens.entry(mailbox.clone()).or_default().insert(app);
            }
        }
    }
    assert!(tokens.values().all(|apps| apps.len() == 1), "a mailbox stays on one app: {tokens:?}");
    let used: BTreeSet<&String> = tokens.values().flatten().collect();
    assert_eq!(used.len(), 3, "and every app has some");
    assert_eq!(desk.mock.counters().tokens, 6, "one token an app and target");
}
