//! TLS to a source server that breaks off without a word, renews its certificate, or is somebody else.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailwave::mock::imap::{Act, ImapMock, ImapOptions, ImapServer, InternalDate, Rule};
use mailwave::mock::server::RealWorld;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::runtime::Runtime;

use super::USER;
use crate::bad_input::desk::{Desk, MAILDIR_TARGET, Ran, mail};

/// An authority and its certificate in PEM.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority(Issuer::new(params, key), pem)
    }

    /// A certificate for this name, that ends with that year.
    fn sign(&self, name: &str, last_year: i32) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.not_before = date_time_ymd(2015, 1, 1);
        leaf.not_after = date_time_ymd(last_year, 12, 31);
        let certificate = leaf.signed_by(&key, &self.0).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key =
            provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der()).unwrap());
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key.unwrap()))
    }
}

/// Shows one certificate after the other, a new one for each connection; the last for good.
#[derive(Debug)]
struct InTurn {
    certificates: Vec<Arc<CertifiedKey>>,
    shown: AtomicUsize,
}

impl ResolvesServerCert for InTurn {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let n = self.shown.fetch_add(1, Ordering::Relaxed);
        self.certificates.get(n).or(self.certificates.last()).cloned()
    }
}

/// A mailbox behind TLS, on its way into a Maildir.
struct Behind {
    mock: Arc<ImapMock>,
    desk: Desk,
    _server: ImapServer,
    _runtime: Runtime,
}

impl Behind {
    fn new(authority: &Authority, certificates: Vec<Arc<CertifiedKey>>) -> Behind {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let shown = Arc::new(InTurn { certificates, shown: AtomicUsize::new(0) });
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(shown);
        // Else a second session would be a resumption of the first, without any certificate.
        tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        let runtime = Runtime::new().unwrap();
        let mock = ImapMock::new(ImapOptions::default(), Arc::new(RealWorld));
        let server = runtime.block_on(mock.clone().listen("127.0.0.1:0", Some(Arc::new(tls)))).unwrap();
        let config = format!(
            "[source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {}\nca_file = \"ca.pem\"\n\
             password = {{ file = \"pw\" }}\nidle_timeout = \"2s\"\n{MAILDIR_TARGET}",
            server.addr.port()
        );
        let desk = Desk::new(&config, &format!("source,target\n{USER},ann\n"));
        fs::write(desk.path("ca.pem"), &authority.1).unwrap();
        desk.secret("pw", "canary-password\n");
        for n in 0..6 {
            mock.store().add(USER, "INBOX", mail(USER, n), &[], InternalDate::utc(1_200_000_000));
        }
        Behind { mock, desk, _server: server, _runtime: runtime }
    }

    fn logins(&self) -> usize {
        self.mock.heard().iter().filter(|h| ["LOGIN", "AUTHENTICATE"].contains(&h.verb.as_str())).count()
    }

    #[track_caller]
    fn is_refused(&self, why: &str) -> Ran {
        let ran = self.desk.run();
        ran.ended(2);
        assert!(ran.errors()[0].contains(why), "{:?}", ran.errors());
        ran
    }
}

#[test]
fn a_connection_that_ends_without_a_farewell_of_tls_is_cut_and_no_message_of_it_is_believed() {
    let authority = Authority::new("our authority");
    // In the middle of a message, and right behind its last octet.
    let whole = mail(USER, 0).len() as u64;
    for at in [1, 60, whole, whole + 60, whole + 100] {
        let way = Behind::new(&authority, vec![authority.sign("localhost", 2100)]);
        way.mock.script([Rule::on("UID FETCH", Act::CloseAt(at)).uid(3).nth(2)]);
        assert_eq!(way.desk.run().ended(0).count("stored"), 6, "cut after {at}");
        assert!(way.mock.unfired().is_empty());
        let mut all: Vec<Vec<u8>> = (0..6).map(|n| mail(USER, n)).collect();
        all.sort();
        assert_eq!(way.desk.arrived("ann"), all, "cut after {at}");
    }
}

#[test]
fn a_certificate_renewed_in_the_middle_of_a_run_is_trusted_like_the_first() {
    let authority = Authority::new("our authority");
    let renewed = vec![authority.sign("localhost", 2100), authority.sign("localhost", 2101)];
    let way = Behind::new(&authority, renewed);
    way.mock.script([Rule::on("UID FETCH", Act::Bye("Session expired".to_owned())).nth(2)]);
    assert_eq!(way.desk.run().ended(0).count("stored"), 6);
    assert_eq!(way.logins(), 2);
}

#[test]
fn somebody_elses_server_in_the_middle_of_a_run_is_told_no_password() {
    let [authority, other, false_one] =
        ["our authority", "another authority", "our authority"].map(Authority::new);
    let of = |second| Behind::new(&authority, vec![authority.sign("localhost", 2100), second]);
    for (second, why) in [
        (other.sign("localhost", 2100), "not issued by an authority this machine trusts"),
        (false_one.sign("localhost", 2100), "is not signed by the authority it names"),
        (authority.sign("elsewhere.example", 2100), "is for another host name"),
        (authority.sign("localhost", 2016), "has expired"),
    ] {
        let way = of(second);
        way.mock.script([Rule::on("UID FETCH", Act::Bye("Session expired".to_owned())).nth(2)]);
        way.is_refused(why);
        assert_eq!(way.logins(), 1, "{why}");
    }
}
