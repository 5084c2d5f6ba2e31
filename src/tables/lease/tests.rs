use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;

fn lakes() -> (tempfile::TempDir, Vec<Lake>) {
    let folder = tempfile::tempdir().unwrap();
    let local = Lake::at(folder.path().to_str().unwrap()).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    (folder, vec![local, Lake::over("s3://bucket/lake", store)])
}

#[tokio::test]
async fn one_at_a_time_and_the_next_when_it_is_released() {
    let (_folder, lakes) = lakes();
    for lake in lakes {
        let first = Lease::take(&lake, "a").await.unwrap();
        let other = Lease::take(&lake, "b").await.unwrap();
        let mut second = Box::pin(Lease::take(&lake, "a"));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut second).await.is_err(), "two hold it");
        first.release().await;
        let second = tokio::time::timeout(Duration::from_secs(20), second).await.unwrap().unwrap();
        drop((second, other));
        // A lease that was dropped is free again as one that was released.
        tokio::time::timeout(Duration::from_secs(20), Lease::take(&lake, "a")).await.unwrap().unwrap().release().await;
    }
}

#[tokio::test]
async fn on_a_disk_a_lease_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("lake");
    let lake = Lake::at(root.to_str().unwrap()).unwrap();
    let lease = Lease::take(&lake, "a").await.unwrap();
    assert!(root.join(FOLDER).is_dir());
    lease.release().await;
    assert!(!root.exists(), "the lake was not there and is empty");
    std::fs::create_dir(&root).unwrap();
    Lease::take(&lake, "a").await.unwrap().release().await;
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    // Many who make and remove the file at once: still one at a time.
    let inside = std::sync::atomic::AtomicU32::new(0);
    let visit = async || {
        let lease = Lease::take(&lake, "a").await.unwrap();
        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0, "two hold it");
        tokio::task::yield_now().await;
        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        lease.release().await;
    };
    futures::future::join_all((0..20).map(|_| visit())).await;
}

#[tokio::test]
async fn a_lease_that_nobody_renews_is_taken_over() {
    let (_folder, lakes) = lakes();
    let bucket = lakes[1].bucket().unwrap();
    let path = bucket.prefix.clone().join(FOLDER).join(format!("{}.lease", hash::text("a")));
    let elsewhere = "{\"name\":\"a\",\"id\":\"x\",\"machine\":\"another\",\"process\":1,\"started\":\"1\",\"seconds\":0.2,\"beat\":0}";
    bucket.store.put(&path, elsewhere.into()).await.unwrap();
    let lease = Lease::take(&lakes[1], "a").await.unwrap();
    let holder = Holder::read(&bucket.store.get(&path).await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!((holder.name.as_str(), holder.beat), ("a", 0));
    lease.release().await;
    assert!(bucket.store.head(&path).await.is_err(), "the lease is still there");
}

#[tokio::test]
async fn a_holder_that_was_killed_on_this_machine_is_not_waited_for() {
    let (_folder, lakes) = lakes();
    let bucket = lakes[1].bucket().unwrap();
    let path = bucket.prefix.clone().join(FOLDER).join(format!("{}.lease", hash::text("a")));
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let me = Holder::this_process("a", 3_600.0);
    let text = String::from_utf8(me.written()).unwrap();
    let theirs = |started: &str| {
        let mut holder: serde_json::Value = serde_json::from_str(&text).unwrap();
        holder["process"] = child.id().into();
        holder["started"] = started.into();
        holder.to_string()
    };
    let started = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let started = started.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().to_owned();
    let living = theirs(&started);
    assert!(!Holder::read(living.as_bytes()).unwrap().is_gone(), "a living process is taken for dead");
    bucket.store.put(&path, living.into()).await.unwrap();
    let mut waiting = Box::pin(Lease::take(&lakes[1], "a"));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    drop(waiting);
    child.kill().unwrap();
    child.wait().unwrap();
    tokio::time::timeout(Duration::from_secs(20), Lease::take(&lakes[1], "a")).await.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_does_not_wait_is_told_who_is_at_work() {
    let (_folder, lakes) = lakes();
    for lake in lakes {
        let Asked::Held(held) = Lease::ask(&lake, "a").await.unwrap() else { panic!("nobody held it") };
        let Asked::Held(other) = Lease::ask(&lake, "b").await.unwrap() else { panic!("another lease is another") };
        if let Some(bucket) = lake.bucket() {
            // Renewed as its holder would in twenty seconds.
            let path = bucket.prefix.clone().join(FOLDER).join(format!("{}.lease", hash::text("a")));
            let renew = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let me = Holder::this_process("a", 60.0);
                bucket.store.put(&path, me.written().into()).await.unwrap();
            };
            let (asked, ()) = tokio::join!(Lease::ask(&lake, "a"), renew);
            let Asked::Busy(holder) = asked.unwrap() else { panic!("two hold it") };
            assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
        } else {
            let Asked::Busy(holder) = Lease::ask(&lake, "a").await.unwrap() else { panic!("two hold it") };
            assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
        }
        held.release().await;
        other.release().await;
        assert!(matches!(Lease::ask(&lake, "a").await.unwrap(), Asked::Held(_)));
    }
}

#[tokio::test]
async fn a_lease_that_is_lost_is_told_of_and_not_given_back() {
    let (_folder, lakes) = lakes();
    let bucket = lakes[1].bucket().unwrap();
    let path = bucket.prefix.clone().join(FOLDER).join(format!("{}.lease", hash::text("a")));
    let me = Holder::this_process("a", 0.3);
    let first = put(bucket, &path, &me, PutMode::Create).await.unwrap();
    let lease = Lease { held: Held::Object(Some(hold(bucket, path.clone(), me, first))) };
    // Renewed a few times, it is still ours.
    assert!(tokio::time::timeout(Duration::from_millis(500), lease.lost()).await.is_err(), "nobody took it");
    // Another process took it over while this one was stopped.
    bucket.store.put(&path, Holder::this_process("a", 60.0).written().into()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), lease.lost()).await.unwrap();
    lease.release().await;
    assert!(bucket.store.head(&path).await.is_ok(), "the other's lease was given back");
}

#[tokio::test]
async fn a_lease_that_ran_out_unnoticed_is_not_given_back_for_another() {
    let (_folder, lakes) = lakes();
    let bucket = lakes[1].bucket().unwrap();
    let path = bucket.prefix.clone().join(FOLDER).join(format!("{}.lease", hash::text("a")));
    let me = Holder::this_process("a", 60.0);
    let first = put(bucket, &path, &me, PutMode::Create).await.unwrap();
    let mut object = hold(bucket, path.clone(), me, first);
    // As after a long stop, before the next renewal.
    let long_ago = SystemTime::now() - Duration::from_secs(3_600);
    object.renewal = watch::channel(Renewal::At(Instant::now(), long_ago)).1;
    let theirs = Holder::this_process("a", 60.0);
    bucket.store.put(&path, theirs.written().into()).await.unwrap();
    Lease { held: Held::Object(Some(object)) }.release().await;
    let found = Holder::read(&bucket.store.get(&path).await.unwrap().bytes().await.unwrap()).unwrap();
    assert!(found.is(&theirs));
}
