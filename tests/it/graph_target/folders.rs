//! Folders found or made, once, by role and by name.

use mailwave::model::{FolderPath, SpecialUse};
use mailwave::target::FolderWanted;

use super::*;

fn folder(names: &[&str], special: Option<SpecialUse>) -> FolderWanted {
    let path = FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).unwrap();
    FolderWanted { path, special, subscribed: None }
}

fn children(list: &[(&str, &str)]) -> Value {
    json!({"value": list.iter().map(|(id, name)| json!({"id": id, "displayName": name})).collect::<Vec<_>>()})
}

#[tokio::test(start_paused = true)]
async fn well_known_folders_are_reached_by_role_at_their_level_only() {
    let (script, mailbox, _) = open().await;
    script
        .get("/mailFolders/inbox?", 200, json!({"id": "IN"}))
        .get("/mailFolders/sentitems?", 200, json!({"id": "SENT"}))
        .get("/mailFolders/IN/childFolders", 200, children(&[]))
        .post("/mailFolders/IN/childFolders", 201, json!({"id": "SUB"}))
        .get(format!("{USER}/mailFolders?$top=100"), 200, children(&[("A", "a")]))
        .get("/mailFolders/A/childFolders", 200, children(&[("AS", "Sent")]));
    let get = |w: FolderWanted| {
        let mailbox = mailbox.clone();
        async move { mailbox.folder(&w).await.expect("a folder").0 }
    };
    assert_eq!(get(folder(&["inbox"], None)).await, "IN");
    assert_eq!(get(folder(&["Gesendet"], Some(SpecialUse::Sent))).await, "SENT");
    assert_eq!(get(folder(&["INBOX", "Sub"], None)).await, "SUB");
    assert_eq!(get(folder(&["a", "Sent"], Some(SpecialUse::Sent))).await, "AS");
    assert_eq!(get(folder(&["INBOX", "Sub"], None)).await, "SUB", "known now");
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_folder_on_a_later_page_is_found_and_a_foreign_page_is_not_followed() {
    let (script, mailbox, _) = open().await;
    let mut first = children(&[("1", "one")]);
    first["@odata.nextLink"] = format!("{BASE}{USER}/mailFolders?$skip=100").into();
    script.get("/mailFolders?$top=100", 200, first).get("$skip=100", 200, children(&[("2", "two")]));
    assert_eq!(mailbox.folder(&folder(&["two"], None)).await.expect("found").0, "2");
    script.done();

    let (script, mailbox, _) = open().await;
    let mut first = children(&[]);
    first["@odata.nextLink"] = "https://evil.test/v1.0/next".into();
    script.get("/mailFolders?$top=100", 200, first);
    let error = mailbox.folder(&folder(&["two"], None)).await.expect_err("refused");
    assert_eq!(error.kind, Kind::Protocol);
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_folder_made_meanwhile_is_found_again_and_a_lost_answer_makes_no_second_one() {
    for (status, code) in [(409, "ErrorFolderExists"), (504, "UnknownError")] {
        let (script, mailbox, _) = open().await;
        script
            .get("/mailFolders?$top=100", 200, children(&[]))
            .post("/mailFolders", status, error(code))
            .get("/mailFolders?$top=100", 200, children(&[("N", "new")]));
        assert_eq!(mailbox.folder(&folder(&["new"], None)).await.expect("found").0, "N");
        script.done();
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_differ_only_in_case_become_two_folders() {
    let (script, mailbox, _) = open().await;
    script
        .get("/mailFolders?$top=100", 200, children(&[]))
        .post("/mailFolders", 201, json!({"id": "F1"}))
        .post("/mailFolders", 201, json!({"id": "F2"}));
    assert_eq!(mailbox.folder(&folder(&["Foo"], None)).await.expect("made").0, "F1");
    assert_eq!(mailbox.folder(&folder(&["foo"], None)).await.expect("made").0, "F2");
    script.done();
    assert_eq!(script.json(2)["displayName"], "Foo");
    let second = script.json(3)["displayName"].as_str().unwrap().to_owned();
    assert!(second.starts_with("foo~") && second.len() == 12, "{second}");
}

#[tokio::test(start_paused = true)]
async fn two_lanes_that_want_one_folder_make_one() {
    let (script, mailbox, _) = open().await;
    script.get("/mailFolders?$top=100", 200, children(&[])).post("/mailFolders", 201, json!({"id": "N"}));
    let wanted = folder(&["new"], None);
    let (a, b) = tokio::join!(mailbox.folder(&wanted), mailbox.folder(&wanted));
    assert_eq!((a.expect("made").0, b.expect("found").0), ("N".to_owned(), "N".to_owned()));
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_name_taken_by_a_hidden_folder_gets_its_suffix() {
    let (script, mailbox, _) = open().await;
    let hidden = json!({"value": [{"id": "H", "displayName": "Sync", "isHidden": true}]});
    script
        .get("/mailFolders?$top=100", 200, children(&[]))
        .post("/mailFolders", 409, error("ErrorFolderExists"))
        .get("includeHiddenFolders=true", 200, hidden)
        .post("/mailFolders", 201, json!({"id": "S"}));
    assert_eq!(mailbox.folder(&folder(&["Sync"], None)).await.expect("made").0, "S");
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_place_is_a_folder_of_its_own_without_well_known_ones() {
    let script = Arc::new(Script::default());
    let env = Env::system();
    let target = GraphTarget::new(&env, script.clone(), settings()).expect("settings");
    script
        .get("/mailFolders/msgfolderroot", 200, json!({"id": "root"}))
        .get("/mailFolders?$top=100", 200, children(&[]))
        .post("/mailFolders", 201, json!({"id": "P"}))
        .get("/mailFolders/P/childFolders", 200, children(&[]))
        .post("/mailFolders/P/childFolders", 201, json!({"id": "PI"}));
    let mailbox = target.open("ann@example.org", "Old mail", Gate::unlimited(&env)).await.expect("opens");
    assert_eq!(mailbox.folder(&folder(&["INBOX"], Some(SpecialUse::Inbox))).await.expect("made").0, "PI");
    script.done();
}

#[tokio::test(start_paused = true)]
async fn a_renamed_folder_is_moved_and_renamed_once_and_never_onto_another() {
    let (script, mailbox, _) = open().await;
    let id = TargetFolderId("F".to_owned());
    let now = |name: &str, parent: &str| json!({"id": "F", "displayName": name, "parentFolderId": parent});
    script
        .get("/mailFolders?$top=100", 200, children(&[("A", "above")]))
        .get("/mailFolders/F?", 200, now("old", "root"))
        .get("/mailFolders/A/childFolders", 200, children(&[("X", "other")]))
        .post("/mailFolders/F/move", 201, json!({"id": "F"}))
        .then(Method::PATCH, "/mailFolders/F", Back::Answer(200, json!({"id": "F"})));
    mailbox.rename_folder(&id, &folder(&["above", "new"], None)).await.expect("renamed");
    assert_eq!(script.json(4)["destinationId"], "A");
    assert_eq!(script.json(5)["displayName"], "new");
    script
        .get("/mailFolders?$top=100", 200, children(&[("A", "above")]))
        .get("/mailFolders/F?", 200, now("new", "A"))
        .get("/mailFolders/A/childFolders", 200, children(&[("X", "other"), ("F", "new")]));
    mailbox.rename_folder(&id, &folder(&["above", "new"], None)).await.expect("nothing left to do");
    script
        .get("/mailFolders?$top=100", 200, children(&[("A", "above")]))
        .get("/mailFolders/F?", 200, now("new", "A"))
        .get("/mailFolders/A/childFolders", 200, children(&[("X", "other"), ("F", "new")]));
    let error = mailbox.rename_folder(&id, &folder(&["above", "other"], None)).await.expect_err("taken");
    assert_eq!((error.kind, error.scope), (Kind::Conflict, Scope::Folder));
    script.done();
}
