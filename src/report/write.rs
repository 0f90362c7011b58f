//! Writes a report's files: each appears whole or not at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::build::Report;
use super::{csv, text};
use crate::model::{Error, Kind, Result, Scope};

/// The files of a report.
pub const FILES: [&str; 4] = ["report.txt", "report.json", "report-mailboxes.csv", "report-skipped.csv"];

/// Writes all of [`FILES`] into a directory, which is made (0700) if missing. An older report is replaced file by
/// file; a reader never sees half a file.
///
/// # Errors
/// `Kind::Io`: the directory or a file could not be written.
pub fn write(report: &Report, dir: &Path) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::new(
            Kind::Io,
            Scope::Run,
            format!("the report could not be written to {} ({e})", dir.display()),
        )
        .remedy("make room or name another directory with `report = \"…\"` or `--out DIR`")
    };
    let mut json = serde_json::to_vec_pretty(report)
        .map_err(|_| Error::new(Kind::Internal, Scope::Run, "the report's JSON could not be made"))?;
    json.push(b'\n');
    let contents = [
        text::text(report).into_bytes(),
        json,
        csv::mailboxes(&report.mailboxes)?,
        csv::skipped(&report.skipped)?,
    ];
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    for (name, content) in FILES.iter().zip(contents) {
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
        file.write_all(&content).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(dir.join(name)).map_err(|e| failed(e.error))?;
    }
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::{About, Report};
    use super::*;
    use crate::ledger::{
        FactsCursor, FolderState, LedgerView, MailboxLine, MailboxState, PassSummary, SkipLine,
    };
    use crate::model::{Fact, FlagMap, FolderId, FolderPath, MailboxKey, RunSet, Skip, SkipReason};

    struct View;

    impl LedgerView for View {
        fn mailboxes(&self) -> Result<Vec<MailboxLine>> {
            let last = PassSummary {
                complete: true,
                stored: 3,
                recounted: Some(3),
                verdict: "investigate".into(),
                reasons: vec!["1 message skipped and not approved".into()],
                began: 0,
                ended: 1500,
                ..PassSummary::default()
            };
            Ok(vec![MailboxLine {
                key: "0123456789abc".into(),
                ordinal: 1,
                state: "complete".into(),
                passes: 1,
                messages: 3,
                bytes: 4096,
                skipped: 1,
                unknown: 0,
                lossy: 2,
                last: Some(last),
                error: None,
            }])
        }
        fn skips(&self) -> Result<Vec<SkipLine>> {
            let skip = Skip {
                number: 4,
                name: "=cmd|x".into(),
                reason: SkipReason::Refused,
                detail: "the target said \u{1b}[31mno\"".into(),
                size: Some(10),
                received: Some(0),
            };
            Ok(vec![SkipLine { mailbox: "0123456789abc".into(), folder: FolderId(2), skip }])
        }
        fn state(&self, _: &MailboxKey) -> Result<Option<MailboxState>> {
            let folder = FolderState {
                id: FolderId(2),
                path: FolderPath::inbox(),
                special: None,
                object_id: None,
                epoch: 1,
                target_folder: String::new(),
                done: RunSet::default(),
                flags: FlagMap::default(),
                live: 3,
                orphans: 0,
                next_number: 1,
                modseq: 0,
                uidnext: 0,
                messages: 0,
                mark: String::new(),
                missing: false,
            };
            Ok(Some(MailboxState { lossy: 2, folders: vec![folder], ..MailboxState::default() }))
        }
        fn facts_from(
            &self,
            _: &MailboxKey,
            _: FolderId,
            _: FactsCursor,
        ) -> Result<(Vec<Fact>, Option<FactsCursor>)> {
            let fact = |number, losses: &str| Fact {
                epoch: 1,
                number,
                name: String::new(),
                target_id: String::new(),
                digest: None,
                size: 1,
                received: None,
                header: 0,
                object: 0,
                bound: None,
                losses: losses.into(),
                mode: crate::model::WriteMode::Usual,
            };
            Ok((vec![fact(1, ""), fact(2, "body-joined,keywords"), fact(3, "keywords")], None))
        }
    }

    fn report() -> Report {
        let key = |k: &str| MailboxKey::parse(k).expect("a key");
        let lines = [(key("0123456789abc"), 2), (key("0123456789abd"), 3)].into();
        Report::build(&View, &About { source_name: "acme".into(), lines, now: 0 }).expect("built")
    }

    #[test]
    fn a_report_lists_every_mailbox_and_every_skipped_item_with_its_remedy() {
        let report = report();
        assert_eq!(report.verdict, "investigate");
        assert_eq!((report.totals.mailboxes, report.totals.not_begun, report.totals.messages), (2, 1, 3));
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("deep/report");
        write(&report, &out).expect("written");
        write(&report, &out).expect("written over");
        let read = |name: &str| fs::read_to_string(out.join(name)).expect("readable");
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).expect("JSON");
        assert_eq!(json["mailboxes"][0]["csv_line"], 2);
        assert_eq!(json["mailboxes"][1]["state"], "new");
        assert_eq!(json["skipped"][0]["reason"], "refused");
        let text = read("report.txt");
        assert!(text.contains("1 message skipped and not approved"), "{text}");
        assert!(text.contains("folder 2 message 4 (10 B): refused"), "{text}");
        assert_eq!(fs::read_dir(&out).expect("readable").count(), FILES.len(), "no temporary file is left");
    }

    #[test]
    fn losses_are_counted_by_kind_and_explained() {
        let report =
            report().with_losses(&View, &[("keywords", "no letter left"), ("other", "x")]).expect("read");
        let counts: Vec<_> = report.losses.iter().map(|(word, n)| (word.as_str(), *n)).collect();
        assert_eq!(counts, [("body-joined", 1), ("keywords", 2)]);
        assert_eq!(report.mailboxes[0].losses, report.losses);
        assert_eq!(report.meanings.keys().copied().collect::<Vec<_>>(), ["keywords"]);
        let text = super::super::text::text(&report);
        assert!(text.contains("2  keywords: no letter left"), "{text}");
    }

    #[test]
    fn foreign_text_is_inert_in_every_file() {
        let dir = tempfile::tempdir().expect("a directory");
        write(&report(), dir.path()).expect("written");
        for name in FILES {
            let text = fs::read_to_string(dir.path().join(name)).expect("readable");
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{name}");
        }
        let mut rows = ::csv::Reader::from_path(dir.path().join("report-skipped.csv")).expect("readable");
        let row = rows.records().next().expect("a row").expect("CSV");
        assert_eq!((&row[4], &row[8]), ("'=cmd|x", "the target said \\u{1b}[31mno\""));
    }
}
