//! Streams on their way: uploaded, stamped, moved; and what is left over when one of the three goes wrong.

use super::*;
use crate::model::WriteMode;

const STAGING: &str = "imports";

/// The answer to the look for the folder of imports.
fn staging() -> String {
    tree(&[(STAGING, "top", "Mailwave import", "IPF.Note")])
}

fn empty() -> String {
    response("FindItem", &[page(&[], 0, 0)])
}

fn streams(count: u64) -> Vec<StoreItem> {
    let form = Form::Stream { class: "IPM.Contact".to_owned() };
    items(count).into_iter().map(|item| StoreItem { form: form.clone(), ..item }).collect()
}

fn uploaded(id: &str) -> String {
    done("UploadItems", &format!("<m:ItemId Id=\"{id}\" ChangeKey=\"c\"/>"))
}

fn moved(id: &str) -> String {
    done(
        "MoveItem",
        &format!("<m:Items><t:Contact><t:ItemId Id=\"{id}\" ChangeKey=\"c\"/></t:Contact></m:Items>"),
    )
}

fn updated(count: usize) -> String {
    response("UpdateItem", &vec![done("UpdateItem", ""); count])
}

#[tokio::test]
async fn a_stream_is_uploaded_where_nobody_sees_it_then_stamped_then_moved() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    assert!(mailbox.capabilities().streams);
    server.says(staging()).says(empty());
    server.says(response("UploadItems", &[uploaded("u1"), uploaded("u2")])).says(updated(2));
    server.says(response("MoveItem", &[moved("m1"), moved("m2")]));
    let outcomes = stores(&mailbox, streams(2)).await;
    let ids: Vec<_> = outcomes
        .iter()
        .map(|o| match o {
            Outcome::Stored { id, mode: WriteMode::ImportStream, losses } if losses.is_empty() => id.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["m1", "m2"]);
    assert_eq!(server.ops()[2..], ["FindFolder", "FindItem", "UploadItems", "UpdateItem", "MoveItem"]);
    let asked: Vec<String> = server.asked().into_iter().map(|(.., body)| body).collect();
    assert!(asked[2].contains("<t:DistinguishedFolderId Id=\"root\"/>"), "beside the top that people see");
    let item = format!("<t:Item CreateAction=\"CreateNew\"><t:ParentFolderId Id=\"{STAGING}\"/><t:Data>");
    assert_eq!((asked[4].matches(&item).count(), asked[4].contains("inbox")), (2, false));
    assert!(asked[5].contains(&format!("{}/done", stamp(2))) && asked[5].contains("SendToNone"));
    assert!(asked[6].contains("<m:ToFolderId><t:FolderId Id=\"inbox\"/>"), "{}", asked[6]);
    // The second import asks for nothing again.
    server.says(response("UploadItems", &[uploaded("u3")])).says(updated(1));
    server.says(response("MoveItem", &[moved("m3")]));
    assert_eq!(letters(&stores(&mailbox, streams(1)).await), "s");
    assert!(
        asked.iter().all(|body| super::super::tree::Tree::parse(body.as_bytes()).is_some()),
        "well-formed"
    );
}

#[tokio::test]
async fn messages_and_streams_of_one_batch_go_their_own_ways_in_order() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let mut all = items(4);
    all[1].form = Form::Stream { class: "IPM.Task".to_owned() };
    server.says(response("CreateItem", &[created("a")])).says(staging()).says(empty());
    server.says(response("UploadItems", &[uploaded("u")])).says(updated(1));
    server.says(response("MoveItem", &[moved("b")]));
    server.says(response("CreateItem", &[created("c"), created("d")]));
    let outcomes = stores(&mailbox, all).await;
    let seen: Vec<_> = outcomes
        .iter()
        .map(|o| match o {
            Outcome::Stored { id, mode, .. } => (id.as_str(), *mode),
            other => panic!("{other:?}"),
        })
        .collect();
    let usual = WriteMode::Usual;
    assert_eq!(seen, [("a", usual), ("b", WriteMode::ImportStream), ("c", usual), ("d", usual)]);
}

#[tokio::test(start_paused = true)]
async fn each_stream_is_judged_by_itself_at_each_of_the_three_requests() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(staging()).says(empty());
    let codes = ["ErrorCorruptData", "ErrorMessageSizeExceeded", "ErrorInternalServerError"];
    let mut answers: Vec<String> = codes.iter().map(|code| failed("UploadItems", code)).collect();
    answers.extend(["u4", "u5", "u6", "u7"].map(uploaded));
    server.says(response("UploadItems", &answers));
    server.says(response(
        "UpdateItem",
        &[
            done("UpdateItem", ""),
            failed("UpdateItem", "ErrorItemNotFound"),
            failed("UpdateItem", "ErrorItemSavePropertyError"),
            done("UpdateItem", ""),
        ],
    ));
    server.then(|body| {
        assert!(body.contains("\"u4\"") && body.contains("\"u7\""), "{body}");
        assert!(
            !body.contains("\"u5\"") && !body.contains("\"u6\""),
            "only what has its stamp leaves: {body}"
        );
        delivered(200, &[], response("MoveItem", &[moved("m4"), failed("MoveItem", "ErrorQuotaExceeded")]))
    });
    let outcomes = stores(&mailbox, streams(7)).await;
    assert_eq!(letters(&outcomes), "rrusurn");
    assert!(outcomes.iter().all(|o| !matches!(o, Outcome::Unknown(e) if !e.may_pass())));
    // What is left over is removed before the next import, for good.
    server.says(response("FindItem", &[page(&[found("u5", 5)], 0, 1)]));
    server.then(|body| {
        assert!(body.contains("DeleteType=\"HardDelete\"") && body.contains("\"u5\""), "{body}");
        delivered(200, &[], response("DeleteItem", &[done("DeleteItem", "")]))
    });
    server.says(empty());
    server.says(response("UploadItems", &[uploaded("u")])).says(updated(1));
    server.says(response("MoveItem", &[moved("m")]));
    assert_eq!(letters(&stores(&mailbox, streams(1)).await), "s");
}

#[tokio::test(start_paused = true)]
async fn a_move_out_of_the_imports_whose_answer_was_lost_is_settled_by_the_stamp_or_unknown() {
    for there in [true, false] {
        let server = Server::default();
        let mailbox = server.open(|_| ()).await;
        server.says(staging()).says(empty());
        server.says(response("UploadItems", &[uploaded("u")])).says(updated(1));
        server.then(|_| Delivery::NoAnswer);
        if there {
            server.says(response("FindItem", &[page(&[found("m", 1)], 0, 1)]));
        } else {
            // Not there yet; then gone from the folder of imports, and still not to be seen.
            server.says(empty());
            server.says(response("MoveItem", &[failed("MoveItem", "ErrorItemNotFound")]));
            server.says(empty());
        }
        let outcomes = stores(&mailbox, streams(1)).await;
        assert_eq!(letters(&outcomes), if there { "s" } else { "u" });
    }
}

#[tokio::test]
async fn what_lies_among_the_imports_is_no_copy_and_removed_for_good() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(staging()).says(tree(&[("a", "root", "A", "IPF.Note")]));
    // The first is there alone; the second lies in its folder as well.
    server.says(response(
        "FindItem",
        &[page(&[found("1", 1), found("2", 2)], 0, 2), page(&[found("3", 2)], 0, 1)],
    ));
    let prefix = StampPrefix::mailbox(&stamp(1).source, &stamp(1).mailbox);
    let copies = mailbox.find(&prefix).await.expect("found");
    let seen: Vec<_> = copies.iter().map(|c| (c.id.as_str(), c.complete)).collect();
    assert_eq!(seen, [("1", false), ("3", true)]);
    server.then(|body| {
        assert!(body.contains("HardDelete") && body.contains("\"1\""), "{body}");
        delivered(200, &[], response("DeleteItem", &[done("DeleteItem", "")]))
    });
    server.then(|body| {
        assert!(body.contains("SoftDelete") && body.contains("\"3\""), "{body}");
        delivered(200, &[], response("DeleteItem", &[failed("DeleteItem", "ErrorAccessDenied")]))
    });
    let both = [copies[1].to_ref(), copies[0].to_ref()];
    let removed = mailbox.remove(&both).await;
    assert!(removed[0].is_err() && removed[1].is_ok(), "in order: {removed:?}");
}

#[tokio::test]
async fn a_folder_of_imports_that_is_missing_is_made_and_one_that_went_away_is_looked_for_again() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[])).then(|body| {
        assert!(body.contains("<m:ParentFolderId><t:DistinguishedFolderId Id=\"root\"/>"), "{body}");
        delivered(200, &[], response("CreateFolder", &[failed("CreateFolder", "ErrorFolderExists")]))
    });
    server.says(staging()).says(empty());
    server.says(response("UploadItems", &[failed("UploadItems", "ErrorFolderNotFound")]));
    let outcomes = stores(&mailbox, streams(1)).await;
    assert!(
        matches!(&outcomes[0], Outcome::NotSent(e) if e.may_pass() && e.kind != Kind::NotFound),
        "not the folder the item goes to: {outcomes:?}"
    );
    server.says(staging());
    server.says(empty()).says(response("UploadItems", &[uploaded("u")])).says(updated(1));
    server.says(response("MoveItem", &[moved("m")]));
    assert_eq!(letters(&stores(&mailbox, streams(1)).await), "s");
}

#[tokio::test]
async fn an_export_that_was_cut_is_a_passing_error_and_never_stored() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let class = || {
        let item = "<m:Items><t:Contact><t:ItemId Id=\"1\"/><t:ItemClass>IPM.Contact</t:ItemClass></t:Contact></m:Items>";
        response("GetItem", &[done("GetItem", item)])
    };
    let data = |text: &str| {
        let data = format!("<m:ItemId Id=\"1\"/><m:Data>{text}</m:Data>");
        response("ExportItems", &[done("ExportItems", &data)])
    };
    // "ab=== Truncated Data ===", once inside of the base64 and once behind it.
    for text in ["YWI9PT0gVHJ1bmNhdGVkIERhdGEgPT09", "YWI\n=== Truncated Data ==="] {
        server.says(class()).says(data(text));
        let error = mailbox.export(&copy("1")).await.expect_err("cut short");
        assert!(error.may_pass() && !error.remedy.is_empty(), "{error}");
    }
    server.says(class()).says(data("YW\nI="));
    let exported = mailbox.export(&copy("1")).await.expect("whole");
    assert_eq!((exported.class.as_str(), &exported.octets[..]), ("IPM.Contact", &b"ab"[..]));
    server.says(staging()).says(empty());
    let mut cut = streams(1);
    cut[0].body = Body::from_bytes(Bytes::from_static(b"ab=== Truncated Data ==="));
    assert_eq!(letters(&stores(&mailbox, cut).await), "n");
    assert!(!server.ops().contains(&"UploadItems".to_owned()));
}
