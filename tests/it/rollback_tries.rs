//! A ledger that was put back, and a pass that needs several tries: what was copied since is looked for once, and again only
//! if the look did not come to its end.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::graph_faults::ward::{Ward, address};
use crate::support::mailgen::MailGen;

const ANN: &str = "ann";
/// Messages of the mailbox whose copies the ledger has forgotten: more than are put on record at once.
const FORGOTTEN: usize = 100;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file())
    {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn add(ward: &Ward, seed: u64, count: usize) {
    let mut mails = MailGen::new(seed, "example.org");
    let mut store = ward.store.lock().unwrap();
    for mail in (0..count).map(|_| mails.next()) {
        store.add(ANN, "INBOX", mail.octets, &mail.flags, mail.received);
    }
}

/// One mailbox, its ledger put back from before the last run, and twenty messages that no run has seen.
fn put_back() -> Ward {
    let mut ward = Ward::new();
    ward.names = vec![ANN.to_owned()];
    ward.good();
    let kept = tempfile::tempdir().unwrap();
    copy(&ward.ledger(), kept.path());
    add(&ward, 71, FORGOTTEN);
    ward.good();
    fs::remove_dir_all(ward.ledger()).unwrap();
    copy(kept.path(), &ward.ledger());
    add(&ward, 72, 20);
    ward.store.lock().unwrap().asked();
    ward
}

/// Is this request the first of a look-up of all copies of the mailbox?
fn looks_for_all(request: &http::Request<bytes::Bytes>) -> bool {
    let query = percent_encoding::percent_decode_str(request.uri().query().unwrap_or_default());
    let query = query.decode_utf8_lossy().into_owned();
    let stamp = query.split("startswith(ep/value,'").nth(1).and_then(|rest| rest.split('\'').next());
    // Version, source, mailbox; of a folder or a message there would be more.
    stamp.is_some_and(|s| s.split('.').filter(|part| !part.is_empty()).count() == 3)
        && !query.contains("$skip")
}

/// Every message is there once, and the run after the last writes nothing.
fn whole(ward: &mut Ward) {
    ward.calm();
    assert_eq!(ward.mail(ANN).len(), ward.at_source(ANN), "{}", address(ANN));
    let writes = ward.mock.writes();
    ward.good();
    assert_eq!(ward.mock.writes(), writes, "a run after the last writes nothing");
}

#[test]
fn what_was_forgotten_is_looked_for_once_in_a_run_however_often_a_mailbox_is_tried() {
    let mut ward = put_back();
    ward.options.tries = 2;
    // All that was forgotten is read and put on record; then the source fails until the first try has failed.
    ward.store.lock().unwrap().1.fails = (FORGOTTEN as u64, FORGOTTEN as u64 + 2 * 20);
    let looked = Arc::new(AtomicUsize::new(0));
    let counted = looked.clone();
    let mut ward = ward.tricked(move |request| {
        counted.fetch_add(usize::from(looks_for_all(request)), Ordering::Relaxed);
        None
    });
    let (results, _) = ward.run();
    assert!(results[ANN].error.is_none(), "{:?}", results[ANN].error);
    assert_eq!(results[ANN].summary.stored, 20);
    let tries = ward.store.lock().unwrap().asked().folders;
    assert!(tries > 1, "one try was enough: nothing is proven");
    // Once before anything is stored, and once to count the copies at the end.
    assert_eq!(looked.load(Ordering::Relaxed), 2, "in {tries} tries");
    ward.store.lock().unwrap().1.fails = (0, 0);
    whole(&mut ward);
}

#[test]
fn a_try_that_failed_before_all_was_put_on_record_is_followed_by_one_that_looks_again() {
    let mut ward = put_back();
    ward.options.tries = 2;
    // Of the forgotten ones 64 are read and put on record; then the source fails until the first try has failed.
    ward.store.lock().unwrap().1.fails = (64, 64 + 2 * (FORGOTTEN as u64 - 64));
    let looked = Arc::new(AtomicUsize::new(0));
    let counted = looked.clone();
    let mut ward = ward.tricked(move |request| {
        counted.fetch_add(usize::from(looks_for_all(request)), Ordering::Relaxed);
        None
    });
    let (results, _) = ward.run();
    assert!(results[ANN].error.is_none(), "{:?}", results[ANN].error);
    assert_eq!(results[ANN].summary.stored, 20, "the rest was found, not stored again");
    let tries = ward.store.lock().unwrap().asked().folders;
    assert_eq!(tries, 2, "the first try failed");
    assert_eq!(looked.load(Ordering::Relaxed), 3, "each try looked, and the copies were counted");
    ward.store.lock().unwrap().1.fails = (0, 0);
    whole(&mut ward);
}
