//! Client assertions signed with a certificate's key (RFC 7523 §3, RFC 7515; Entra ID, "Certificate credentials").

use std::fmt;

use aws_lc_rs::digest;
use encodify::base64::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::SecretString;
use serde_json::json;

use crate::env::Env;
use crate::model::{Error, Kind, Result, Scope};

/// Life of an assertion, in seconds. Each is used once, at once; the rest is for clocks that differ.
const LIFE: i64 = 540;

/// A certificate and its RSA key. Prints nothing.
pub struct Certificate {
    key: CertifiedKey,
    /// The header of every assertion, encoded.
    header: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl Certificate {
    /// Reads a private key and its certificate from one PEM text; further certificates in it are left alone.
    ///
    /// # Errors
    /// `Config`: there is no key, no certificate of that key, or the key is not RSA. The text holds nothing of either.
    pub fn from_pem(pem: &[u8]) -> Result<Certificate> {
        let wrong = |what: &str| {
            Error::new(Kind::Config, Scope::Endpoint, what).remedy(
                "put the RSA private key (PKCS#8 or PKCS#1, without a passphrase) and the certificate \
                 registered with the app into one PEM file",
            )
        };
        let private = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| wrong("the certificate's file holds no readable private key"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut certificates = 0;
        for der in CertificateDer::pem_slice_iter(pem) {
            let der = der.map_err(|_| wrong("the certificate's file is not valid PEM"))?;
            certificates += 1;
            let (s256, s1) =
                (thumbprint(&digest::SHA256, &der), thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY, &der));
            let Ok(key) = CertifiedKey::from_der(vec![der], private.clone_key(), &provider) else { continue };
            if key.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).is_none() {
                return Err(wrong("the certificate's key is not an RSA key"));
            }
            let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": s256, "x5t": s1});
            return Ok(Certificate { key, header: URL_SAFE_NO_PAD.encode(header.to_string()) });
        }
        Err(wrong(if certificates == 0 {
            "the certificate's file holds no certificate"
        } else {
            "the private key in the certificate's file belongs to none of its certificates"
        }))
    }

    /// An assertion that `client_id` asks the endpoint `audience` for a token now.
    ///
    /// # Errors
    /// `Internal`: the key does not sign.
    pub(super) fn assertion(&self, env: &Env, client_id: &str, audience: &str) -> Result<SecretString> {
        let now = env.wall() / 1000;
        // Unique is enough; what must not be guessed is the signature.
        let word = || env.random(u64::MAX);
        let claims = json!({
            "aud": audience, "iss": client_id, "sub": client_id,
            "jti": format!("{:016x}{:016x}", word(), word()),
            "nbf": now, "iat": now, "exp": now + LIFE,
        });
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signer = self.key.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]);
        let signature = signer.and_then(|s| s.sign(signed.as_bytes()).ok()).ok_or_else(|| {
            Error::new(Kind::Internal, Scope::Endpoint, "the certificate's key does not sign")
        })?;
        Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

fn thumbprint(algorithm: &'static digest::Algorithm, der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(algorithm, der))
}

#[cfg(all(test, feature = "mock"))]
mod tests {
    use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};
    use secrecy::ExposeSecret;
    use serde_json::Value;

    use super::*;

    fn rsa() -> KeyPair {
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key")
    }

    fn certificate(key: &KeyPair) -> String {
        CertificateParams::new(Vec::new()).expect("names").self_signed(key).expect("a certificate").pem()
    }

    #[tokio::test]
    async fn an_assertion_verifies_with_the_certificates_key_lives_minutes_and_is_made_anew() {
        let env = Env::system();
        let (key, other) = (rsa(), rsa());
        // A chain, or an older certificate in the same file, does no harm.
        let pem = format!("{}{}{}", certificate(&other), key.serialize_pem(), certificate(&key));
        let made = Certificate::from_pem(pem.as_bytes()).expect("readable");
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let token = made.assertion(&env, "app", "https://login.test/t/token").expect("signed");
            let token = token.expose_secret().to_owned();
            let (signed, signature) = token.rsplit_once('.').expect("three parts");
            let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
            UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key.subject_public_key_info())
                .verify(signed.as_bytes(), &signature)
                .expect("the signature is the key's");
            let read = |part: usize| -> Value {
                let part = signed.split('.').nth(part).expect("a part");
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
            };
            let (head, claims) = (read(0), read(1));
            assert_eq!((&head["alg"], &head["typ"]), (&json!("PS256"), &json!("JWT")));
            assert!(head["x5t#S256"].as_str().is_some_and(|x| x.len() == 43), "{head}");
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app"), &json!("app")));
            assert_eq!(claims["aud"], "https://login.test/t/token");
            let time = |name: &str| claims[name].as_i64().expect("seconds");
            assert!(time("exp") - time("iat") <= 600 && time("nbf") == time("iat"));
            assert!(ids.insert(claims["jti"].to_string()), "an assertion is used once");
        }
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_file_that_cannot_serve_says_why_and_nothing_of_what_it_holds() {
        let (key, other) = (rsa(), rsa());
        let curve = KeyPair::generate().expect("a key");
        for (pem, what) in [
            (certificate(&key), "no readable private key"),
            (key.serialize_pem(), "holds no certificate"),
            (format!("{}{}", key.serialize_pem(), certificate(&other)), "belongs to none"),
            (format!("{}{}", curve.serialize_pem(), certificate(&curve)), "not an RSA key"),
            ("nonsense".to_owned(), "no readable private key"),
        ] {
            let error = Certificate::from_pem(pem.as_bytes()).expect_err("it cannot serve");
            assert!(error.what.contains(what) && error.kind == Kind::Config, "{error}");
            assert!(!error.remedy.is_empty());
        }
    }
}
