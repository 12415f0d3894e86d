use std::path::Path;
use std::sync::Mutex;

use super::super::{Sources, load};
use super::*;

fn conf(text: &str) -> Result<CloudConf, Vec<Problem>> {
    let read = |_: &Path| Ok(text.to_owned());
    load(&Sources { conf: Some(Path::new("/c")), variable: &|_| None, read: &read }).map(|(conf, _)| conf)
}

const A: &str =
    "[Global]\nauth-url=http://k\nuser-id=u\npassword=a\ntenant-id=p\n[LoadBalancer]\nsubnet-id=s\n";

#[test]
fn what_differs() {
    let mut last = Last::new(conf(A).expect("whole"));
    assert_eq!(compare(&mut last, conf(A)), Seen::Same);
    assert_eq!(compare(&mut last, conf(&format!("# a comment\n\n{A}"))), Seen::Same);
    let other = A.replace("password=a", "password=b");
    let Seen::Changed { credentials, others: false } = compare(&mut last, conf(&other)) else {
        panic!("not changed")
    };
    assert_eq!(credentials, Box::new(conf(&other).expect("whole").credentials));
    assert_eq!(compare(&mut last, conf(&other)), Seen::Same, "told once");
    assert_eq!(compare(&mut last, conf(&other.replace("=s\n", "=t\n"))), Seen::Others);
    assert!(matches!(compare(&mut last, conf(A)), Seen::Changed { others: true, .. }));
}

#[test]
fn what_is_broken_is_told_once_and_forgotten() {
    let mut last = Last::new(conf(A).expect("whole"));
    let half = "[Global]\nauth-url=http://k\nuser-";
    assert!(matches!(compare(&mut last, conf(half)), Seen::Broken(_)));
    assert_eq!(compare(&mut last, conf(half)), Seen::Same);
    assert_eq!(compare(&mut last, conf(A)), Seen::Same, "the old is back");
    assert!(matches!(compare(&mut last, conf(half)), Seen::Broken(_)), "told anew");
}

#[tokio::test(start_paused = true)]
async fn read_again_in_time_and_when_refused() {
    let text = Arc::new(Mutex::new(A.to_owned()));
    let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let refused = Arc::new(Notify::new());
    let source = Arc::clone(&text);
    let task = tokio::spawn(watch(
        Last::new(conf(A).expect("whole")),
        Duration::from_secs(10),
        Arc::clone(&refused),
        move || conf(&source.lock().expect("no panic")),
        move |s| drop(send.send(s)),
    ));
    let begin = tokio::time::Instant::now();
    *text.lock().expect("no panic") = A.replace("password=a", "password=b");
    assert!(matches!(seen.recv().await, Some(Seen::Changed { .. })));
    assert_eq!(begin.elapsed().as_secs(), 10);
    *text.lock().expect("no panic") = A.replace("password=a", "password=c");
    refused.notify_one();
    assert!(matches!(seen.recv().await, Some(Seen::Changed { .. })));
    assert_eq!(begin.elapsed().as_secs(), 10, "at once");
    task.abort();
}
