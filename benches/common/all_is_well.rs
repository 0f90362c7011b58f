//! Graph and Exchange in the same thread, to whom everything is right: what a store costs up to where TLS would begin.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use mailwave::http::{Exchange, HttpClient, HttpError};
use mailwave::transform::import_mime;

/// Answers as the service does when all is well, and counts what it was sent.
#[derive(Default)]
pub struct AllIsWell {
    pub requests: AtomicU64,
    pub octets: AtomicU64,
}

#[async_trait]
impl HttpClient for AllIsWell {
    async fn execute(&self, request: Request<Bytes>, _: &Exchange) -> Result<Response<Bytes>, HttpError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(request.body().len() as u64, Ordering::Relaxed);
        let path = request.uri().path();
        let (status, body) = match *request.method() {
            _ if path.ends_with("Exchange.asmx") => (200, exchange(request.body())),
            Method::GET if request.uri().query().is_some_and(|q| q.contains("$filter")) => {
                (200, proof(&request))
            }
            Method::POST if path.ends_with("$batch") => (200, parts(request.body())),
            Method::GET => (200, r#"{"id":"root"}"#.to_owned()),
            Method::PUT => {
                let range = request.headers()["content-range"].to_str().unwrap();
                let (_, rest) = range.split_once('-').unwrap();
                let (last, total) = rest.split_once('/').unwrap();
                let next = last.parse::<u64>().unwrap() + 1;
                if next == total.parse::<u64>().unwrap() {
                    (201, String::new())
                } else {
                    (200, format!(r#"{{"nextExpectedRanges":["{next}-"]}}"#))
                }
            }
            Method::PATCH => (200, r#"{"id":"m"}"#.to_owned()),
            _ if path.ends_with("createUploadSession") => {
                (201, r#"{"uploadUrl":"https://upload.test/session"}"#.to_owned())
            }
            _ => (201, r#"{"id":"m","parentFolderId":"box"}"#.to_owned()),
        };
        Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
    }
}

/// The message a stamp is looked for by, as the write mode `import-mime` wants to see it.
fn proof(request: &Request<Bytes>) -> String {
    let query = percent_encoding::percent_decode_str(request.uri().query().unwrap()).decode_utf8().unwrap();
    let from = query.find("mw1.").expect("a stamp");
    let stamp: String = query[from..].chars().take_while(|c| !matches!(c, '\'' | '/')).collect();
    serde_json::json!({"value": [{
        "id": "m", "parentFolderId": "box", "isRead": true, "isDraft": false, "categories": [],
        "flag": {"flagStatus": "notFlagged"}, "createdDateTime": "2026-11-22T00:00:00Z",
        "singleValueExtendedProperties": [{"id": import_mime::STAMP_HEADER, "value": format!("{stamp}/open")}],
    }]})
    .to_string()
}

/// Every part of a batch was done.
fn parts(body: &[u8]) -> String {
    let all: serde_json::Value = serde_json::from_slice(body).unwrap();
    let answers: Vec<_> = all["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| serde_json::json!({"id": part["id"], "status": 200, "body": {"id": "m"}}))
        .collect();
    serde_json::json!({ "responses": answers }).to_string()
}

/// What an Exchange answers. Counting the messages is part of what is measured.
fn exchange(body: &[u8]) -> String {
    let (op, count, inner) = if memchr::memmem::find(body, b"<m:CreateItem").is_some() {
        let messages = memchr::memmem::find_iter(body, b"</t:MimeContent>").count();
        ("CreateItem", messages, "<m:Items><t:Message><t:ItemId Id=\"m\"/></t:Message></m:Items>")
    } else {
        let folders = memchr::memmem::find_iter(body, b"<t:DistinguishedFolderId").count();
        ("GetFolder", folders, "<m:Folders><t:Folder><t:FolderId Id=\"f\"/></t:Folder></m:Folders>")
    };
    let one = format!(
        "<m:{op}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inner}</m:{op}ResponseMessage>"
    );
    format!(
        "<s:Envelope xmlns:s=\"s\" xmlns:m=\"m\" xmlns:t=\"t\"><s:Body><m:{op}Response><m:ResponseMessages>{}\
         </m:ResponseMessages></m:{op}Response></s:Body></s:Envelope>",
        one.repeat(count)
    )
}
