//! Messages in Graph's JSON: what was stored through the target is read back from the mock and compared; how a message
//! is divided is compared with a parser that shares no code with ours.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use mail_parser::{MessageParser, PartType};
use mailwave::env::Env;
use mailwave::http::{Delivery, InProcess};
use mailwave::limit::Gate;
use mailwave::mock::Wire;
use mailwave::mock::graph::{GraphMock, GraphOptions, MessageTruth};
use mailwave::mock::server::RealWorld;
use mailwave::model::{
    Bodies, Body, Flags, FolderId, FolderPath, Form, MailboxKey, Outcome, SourceName, Stamp, Timestamp,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, Original, TokenSettings};
use mailwave::target::{FolderWanted, StoreItem, Target};
use mailwave::transform::mime::Structure;
use mailwave::transform::octets::Octets;
use serde_json::Value;

use super::support::corpus::Extent;
use super::support::mailgen::MailGen;

const USER: &str = "anna@example.org";

/// A mock with one mailbox, and a target that writes to it.
struct Mailbox {
    mock: Arc<GraphMock>,
    target: GraphTarget,
}

impl Mailbox {
    fn new(original: Original) -> Mailbox {
        let mock = GraphMock::new(GraphOptions::default(), Arc::new(RealWorld));
        let served = mock.clone();
        let http = InProcess::new(&Env::system(), move |request| {
            let served = served.clone();
            async move {
                match served.handle(request).await {
                    Wire::Answered(response) => Delivery::Answered(response),
                    Wire::NeverArrived => Delivery::NeverArrived,
                    Wire::NoAnswer => Delivery::NoAnswer,
                }
            }
        });
        let token = TokenSettings::ClientCredentials {
            token_url: "https://graph.test/tenant/oauth2/v2.0/token".to_owned(),
            client_id: "test".to_owned(),
            client_secret: "secret".into(),
            scope: "https://graph.microsoft.com/.default".to_owned(),
        };
        let mut settings = GraphSettings::new("https://graph.test/v1.0", token);
        settings.attach_original = original;
        let target = GraphTarget::new(&Env::system(), Arc::new(http), settings).expect("settings");
        Mailbox { mock, target }
    }

    /// Stores one message; gives what the mock holds and the losses that were declared.
    async fn store(&self, body: Body) -> (MessageTruth, Vec<&'static str>) {
        let gate = Gate::unlimited(&Env::system());
        let mailbox = self.target.open(USER, "", gate.clone()).await.expect("opens");
        let wanted = FolderWanted { path: FolderPath::inbox(), special: None, subscribed: None };
        let folder = mailbox.folder(&wanted).await.expect("a folder");
        let before = self.held().len();
        let source: SourceName = "acme".parse().expect("a name");
        let stamp = Stamp {
            mailbox: MailboxKey::of(&source, "anna"),
            source,
            folder: FolderId(1),
            epoch: 1,
            number: before as u64 + 1,
        };
        let ticket = gate.reserve(mailbox.cost(&[body.len()])).await;
        let item = StoreItem {
            stamp: stamp.clone(),
            body,
            form: Form::Mime,
            flags: Flags::default(),
            received: Some(Timestamp::utc(1)),
        };
        let outcomes = mailbox.store(&folder, vec![item], ticket).await;
        let [Outcome::Stored { losses, .. }] = &outcomes[..] else { panic!("{outcomes:?}") };
        let mut held = self.held();
        assert_eq!(held.len(), before + 1);
        let message = held.pop().expect("the new one");
        assert!(message.named.values().any(|v| *v == format!("{stamp}/done")), "complete and said so");
        assert!(!message.is_draft);
        let counters = self.mock.counters();
        assert!(counters.violations.is_empty(), "{:?}", counters.violations);
        (message, losses.clone())
    }

    fn held(&self) -> Vec<MessageTruth> {
        let truth = self.mock.truth();
        truth.mailboxes.get(USER).map(|m| m.folders["Inbox"].messages.clone()).unwrap_or_default()
    }

    /// Asks the mock itself, as somebody else.
    async fn get(&self, path: &str) -> Value {
        let ask = async |request: http::Request<Bytes>| {
            let Wire::Answered(response) = self.mock.handle(request).await else { panic!("no answer") };
            assert!(response.status().is_success(), "{:?}", response.body());
            serde_json::from_slice::<Value>(response.body()).expect("JSON")
        };
        let form = "grant_type=client_credentials&client_id=other&client_secret=secret&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default";
        let request = http::Request::post("https://graph.test/tenant/oauth2/v2.0/token")
            .header("content-type", "application/x-www-form-urlencoded");
        let token = ask(request.body(Bytes::from_static(form.as_bytes())).expect("a request")).await;
        let token = token["access_token"].as_str().expect("a token").to_owned();
        let request = http::Request::get(format!("https://graph.test/v1.0/users/{USER}{path}"))
            .header("authorization", format!("Bearer {token}"));
        ask(request.body(Bytes::new()).expect("a request")).await
    }
}

fn digest(octets: &[u8]) -> String {
    blake3::hash(octets).to_hex().to_string()
}

fn memory(text: &str) -> Body {
    Body::from_bytes(Bytes::from(text.replace('\n', "\r\n")))
}

fn spooled(octets: &[u8]) -> Body {
    let bodies = Bodies { memory_limit: 0, max: 1 << 30, spool: std::env::temp_dir() };
    let mut writer = bodies.begin(1).expect("a file");
    writer.write_all(octets).expect("written");
    writer.finish().expect("finished")
}

#[tokio::test]
async fn smime_messages_arrive_with_their_class_and_one_attachment_octet_for_octet() {
    let mailbox = Mailbox::new(Original::Always);
    let opaque = memory(
        "Subject: s\nContent-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIIBAAAA\n",
    );
    let (message, losses) = mailbox.store(opaque).await;
    assert_eq!(
        message.tagged.get("String 0x1a").or(message.tagged.get("String 0x001A")).map(String::as_str),
        Some("IPM.Note.SMIME"),
        "{:?}",
        message.tagged.keys()
    );
    let [file] = &message.attachments[..] else { panic!("one: {:?}", message.attachments) };
    assert_eq!(
        (file.name.as_str(), file.content_type.as_deref()),
        ("smime.p7m", Some("application/pkcs7-mime"))
    );
    assert_eq!((file.size, file.digest.clone()), (6, digest(&[0x30, 0x82, 1, 0, 0, 0])));
    assert_eq!(losses, ["sent-made"]);

    // Large enough for an upload session, and with trailing blanks that nothing may touch.
    let filler = "signed text with blanks at its end   \r\n".repeat(100_000);
    let entity = format!(
        "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=s\r\n\r\n--s\r\n\
         Content-Type: text/plain\r\n\r\n{filler}\r\n--s\r\nContent-Type: application/pkcs7-signature\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--s--\r\n"
    );
    let (message, _) = mailbox.store(spooled(format!("Subject: s\r\n{entity}").as_bytes())).await;
    assert!(message.tagged.values().any(|v| v == "IPM.Note.SMIME.MultipartSigned"), "{:?}", message.tagged);
    let [file] = &message.attachments[..] else { panic!("one: {:?}", message.attachments) };
    assert_eq!((file.size, file.digest.clone()), (entity.len() as u64, digest(entity.as_bytes())));
    assert_eq!(mailbox.mock.counters().upload_sessions, 1);
}

#[tokio::test]
async fn a_nested_message_arrives_as_an_attached_message() {
    let mailbox = Mailbox::new(Original::WhenLossy);
    let (message, losses) = mailbox
        .store(memory(
            "Subject: outer\nDate: Sat, 21 Nov 2026 09:00:00 +0100\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\ntext\n--m\n\
             Content-Type: message/rfc822\n\nSubject: inner\nMessage-ID: <in@x>\nContent-Type: multipart/mixed; boundary=n\n\n--n\n\n\
             inner text\n--n\nContent-Type: application/x; name=a.bin\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--n--\n--m--\n",
        ))
        .await;
    assert!(losses.is_empty(), "{losses:?}");
    let [item] = &message.attachments[..] else { panic!("one: {:?}", message.attachments) };
    assert_eq!((item.kind.as_str(), item.name.as_str()), ("item", "inner"));
    let list = mailbox.get(&format!("/messages/{}/attachments", message.id)).await;
    let id = list["value"][0]["id"].as_str().expect("an id");
    let inner = mailbox.get(&format!("/messages/{}/attachments/{id}/$value", message.id)).await;
    assert_eq!((&inner["subject"], &inner["body"]["content"]), (&"inner".into(), &"inner text".into()));
    assert_eq!(inner["attachments"][0]["contentBytes"], "aGVsbG8=");
}

#[tokio::test]
async fn every_file_arrives_octet_for_octet_by_every_way_there_is() {
    // In the create, in a request of its own, by upload session in one range and in several; from memory and spooled.
    let mailbox = Mailbox::new(Original::WhenLossy);
    let mut sizes = [10, 900_000, 2_850_000, 3_100_000, 3_500_000, 9_000_001];
    for way in 0..3 {
        let mut dice = Rng::with_seed(way);
        let mut text =
            "Subject: x\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntext\r\n".to_owned();
        let mut wanted = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            let octets: Vec<u8> = std::iter::repeat_with(|| dice.u8(..)).take(*size).collect();
            let mut code = encodify::base64::MIME.encode(&octets);
            if way == 1 {
                // What only a forgiving reader can read: no padding, no line ends.
                code = code.replace("\r\n", "").trim_end_matches('=').to_owned() + "\r\n";
            }
            text += &format!(
                "--m\r\nContent-Type: application/x; name=f{n}\r\nContent-Transfer-Encoding: base64\r\n\r\n{code}"
            );
            wanted.push((format!("f{n}"), *size as u64, digest(&octets)));
        }
        text += "--m--\r\n";
        let body = if way == 2 { spooled(text.as_bytes()) } else { Body::from_bytes(Bytes::from(text)) };
        let (message, losses) = mailbox.store(body).await;
        assert_eq!(losses, ["sent-made"], "way {way}");
        let mut found: Vec<_> =
            message.attachments.iter().map(|a| (a.name.clone(), a.size, a.digest.clone())).collect();
        found.sort();
        assert_eq!(found, wanted, "way {way}");
        sizes.rotate_left(1);
    }
    assert!(mailbox.mock.counters().upload_sessions >= 6);
}

#[tokio::test]
async fn a_text_too_large_for_one_request_arrives_cut_with_all_of_it_attached() {
    let octets = format!("Subject: big\r\n\r\n{}", "line of \"text\"\r\n".repeat(400_000));
    for (original, name, whole) in [
        (Original::WhenLossy, "original-message.eml", octets.as_bytes()),
        (Original::Never, "attachment-1.txt", &octets.as_bytes()[16..]),
    ] {
        let mailbox = Mailbox::new(original);
        let (message, losses) = mailbox.store(spooled(octets.as_bytes())).await;
        assert!(losses.contains(&"body-truncated"), "{losses:?}");
        assert!(message.body_length > 2_000_000 && message.body_length < octets.len() as u64);
        let [file] = &message.attachments[..] else { panic!("one: {:?}", message.attachments) };
        assert_eq!((file.name.as_str(), file.digest.clone()), (name, digest(whole)));
    }
}

/// A leaf: its text if it is one, else its octets.
#[derive(Debug, PartialEq)]
enum Leaf {
    Text(String),
    Octets(Vec<u8>),
    Message,
}

impl Leaf {
    fn octets(&self) -> &[u8] {
        match self {
            Leaf::Text(text) => text.as_bytes(),
            Leaf::Octets(octets) => octets,
            Leaf::Message => b"",
        }
    }
}

fn ours(octets: &Octets) -> Option<Vec<Leaf>> {
    let structure = Structure::read(octets).expect("readable");
    let mut leaves = Vec::new();
    let mut stack = vec![0];
    while let Some(at) = stack.pop() {
        let part = &structure.parts[at];
        if !part.children.is_empty() {
            stack.extend(part.children.iter().rev());
        } else if part.head.is("message", "rfc822") {
            leaves.push(Leaf::Message);
        } else if part.head.main == "text" {
            let text = part.text(1 << 30).expect("readable");
            if text.guessed {
                return None; // a guess: each parser has its own
            }
            leaves.push(Leaf::Text(text.text));
        } else {
            leaves
                .push(Leaf::Octets(part.content().expect("readable").0.octets().expect("readable").to_vec()));
        }
    }
    Some(leaves)
}

/// `None` if it says that it could not read an encoding: then each reads what it can.
fn theirs(octets: &[u8]) -> Option<Vec<Leaf>> {
    let message = MessageParser::default().parse(octets).expect("a message");
    let leaf = |body: &PartType<'_>| match body {
        PartType::Text(text) | PartType::Html(text) => Some(Leaf::Text(text.to_string())),
        PartType::Binary(octets) | PartType::InlineBinary(octets) => Some(Leaf::Octets(octets.to_vec())),
        PartType::Message(_) => Some(Leaf::Message),
        PartType::Multipart(_) => None,
    };
    let parts = &message.parts;
    (!parts.iter().any(|part| part.is_encoding_problem))
        .then(|| parts.iter().filter_map(|part| leaf(&part.body)).collect())
}

/// A part with what it holds: multiparts of every kind within each other, texts and files in every encoding.
fn part(dice: &mut Rng, depth: usize, out: &mut Vec<u8>, leaves: &mut Vec<Leaf>) {
    if depth < 4 && dice.u8(0..3) > 0 {
        let kind = dice.choice(["mixed", "alternative", "related", "report", "signed"]).expect("one");
        let boundary = format!("=_{depth}.{:x}", dice.u32(..));
        let _ = write!(out, "Content-Type: multipart/{kind};\r\n boundary=\"{boundary}\"\r\n\r\n");
        for _ in 0..dice.usize(1..4) {
            let _ = write!(out, "--{boundary}\r\n");
            part(dice, depth + 1, out, leaves);
            out.extend_from_slice(b"\r\n");
        }
        let _ = write!(out, "--{boundary}--\r\n");
        return;
    }
    let words =
        ["ordinary", "--not a boundary", "Größe", "=3D is no escape", "tail  ", "予定", "", "\u{a0}x"];
    let text: Vec<&str> = (0..dice.usize(0..40)).map(|_| words[dice.usize(0..words.len())]).collect();
    let text = text.join("\r\n");
    match dice.u8(0..6) {
        0 => {
            let _ = write!(
                out,
                "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}"
            );
            leaves.push(Leaf::Text(text));
        }
        1 => {
            let code = encodify::qp::BODY.encode(&text);
            let _ = write!(
                out,
                "Content-Type: text/html; charset=\"UTF-8\"\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n{code}"
            );
            leaves.push(Leaf::Text(text));
        }
        2 => {
            let text = text.replace("予定", "e");
            let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
            let code = encodify::base64::MIME.encode(&latin);
            let _ = write!(
                out,
                "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\n{code}"
            );
            leaves.push(Leaf::Text(text));
        }
        3 => {
            let _ = write!(
                out,
                "Content-Type: message/rfc822\r\n\r\nSubject: nested\r\n\r\n{}",
                text.replace("--", "")
            );
            leaves.push(Leaf::Message);
        }
        _ => {
            let mut octets = vec![0; dice.usize(0..3000)];
            dice.fill(&mut octets);
            let code = encodify::base64::MIME.encode(&octets);
            let _ = write!(
                out,
                "Content-Type: application/x-file; name=f\r\nContent-Transfer-Encoding: base64\r\n\r\n{code}"
            );
            leaves.push(Leaf::Octets(octets));
        }
    }
}

#[test]
fn every_part_of_a_made_up_tree_is_found_as_it_was_made_and_as_another_parser_finds_it() {
    for seed in 0..400 {
        let mut dice = Rng::with_seed(seed);
        let (mut octets, mut leaves) = (b"Subject: tree\r\nMIME-Version: 1.0\r\n".to_vec(), Vec::new());
        part(&mut dice, 0, &mut octets, &mut leaves);
        let found = ours(&Bytes::from(octets.clone()).into()).expect("every text says its charset");
        assert_eq!(found, leaves, "seed {seed}:\n{}", String::from_utf8_lossy(&octets));
        let text = String::from_utf8_lossy(&octets).into_owned();
        assert_eq!(theirs(&octets).expect("well encoded"), leaves, "seed {seed}, the other parser:\n{text}");
        let body = Octets::of(&spooled(&octets)).expect("readable");
        assert_eq!(ours(&body).expect("the same"), leaves, "seed {seed}, spooled");
    }
}

#[test]
fn the_parts_and_texts_of_the_corpus_are_what_another_parser_finds() {
    // What is no message, each reads in its own way: all of it as text (ours), or as a header.
    const NO_MESSAGES: [&str; 3] = ["no-headers", "zero-bytes", "no-header-end"];
    let corpus = Extent { seed: 11, mailboxes: 1, octets: 12_000_000 };
    let corpus = corpus.mailbox(0).filter(|m| !NO_MESSAGES.contains(&m.kind)).map(|m| (m.kind, m.octets));
    let mut mails = MailGen::new(5, "example.org");
    let made = std::iter::repeat_with(|| ("made", mails.next().octets)).take(200).collect::<Vec<_>>();
    let (mut compared, mut files) = (0, 0);
    for (kind, octets) in corpus.chain(made) {
        let Some(found) = ours(&Bytes::from(octets.clone()).into()) else { continue };
        let Some(expected) = theirs(&octets) else { continue };
        compared += 1;
        files += found.iter().filter(|l| matches!(l, Leaf::Octets(_))).count();
        let what = || format!("{kind}, {}", String::from_utf8_lossy(&octets[..octets.len().min(1500)]));
        assert_eq!(found.len(), expected.len(), "{}", what());
        for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
            // Of a last group of base64 that is torn off we keep what it says, one or two octets; the other parser none.
            let torn = matches!((a, b), (Leaf::Octets(a), Leaf::Octets(b)) if a.len() <= b.len() + 2 && a.starts_with(b));
            let (a, b) = (a.octets(), b.octets());
            let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            assert!(
                a == b || torn,
                "leaf {n}: {} and {} octets, the same up to {same}: {}",
                a.len(),
                b.len(),
                what()
            );
        }
    }
    assert!(compared > 250 && files > 50, "{compared} {files}");
}
