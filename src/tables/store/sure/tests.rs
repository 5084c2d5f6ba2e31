use std::sync::atomic::{AtomicUsize, Ordering};

use object_store::memory::InMemory;

use super::*;

/// A store that breaks the connection: before a write is done, or after, as the numbers of the writes say; and the first answers to reads.
#[derive(Debug)]
struct Breaking {
    inner: InMemory,
    n_writes: AtomicUsize,
    before: Vec<usize>,
    after: Vec<usize>,
    /// Reads whose answer still breaks off.
    n_broken_reads: AtomicUsize,
}

impl fmt::Display for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("breaking")
    }
}

fn broken() -> Error {
    Error::Generic { store: "S3", source: "connection reset".into() }
}

#[async_trait]
impl ObjectStore for Breaking {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let number = self.n_writes.fetch_add(1, Ordering::SeqCst);
        if self.before.contains(&number) {
            return Err(broken());
        }
        let done = self.inner.put_opts(location, payload, options).await;
        if self.after.contains(&number) { Err(broken()) } else { done }
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let left = self.n_broken_reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(broken()) } else { self.inner.get_opts(location, options).await }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl Breaking {
    fn new(before: &[usize], after: &[usize]) -> Self {
        let (before, after) = (before.into(), after.into());
        Self { inner: InMemory::new(), n_writes: AtomicUsize::new(0), before, after, n_broken_reads: 0.into() }
    }
}

fn store(before: &[usize], after: &[usize]) -> SureStore {
    SureStore::new(Arc::new(Breaking::new(before, after)), Duration::from_secs(20))
}

async fn create(store: &SureStore, text: &'static str) -> Result<PutResult> {
    store.put_opts(&Path::from("a"), text.into(), PutOptions::from(PutMode::Create)).await
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_done_and_nobody_elses() {
    for (before, after) in [(&[][..], &[][..]), (&[0][..], &[][..]), (&[][..], &[0][..]), (&[0, 1][..], &[2][..])] {
        let store = store(before, after);
        create(&store, "one").await.unwrap();
        assert!(matches!(create(&store, "two").await, Err(Error::AlreadyExists { .. })), "{before:?} {after:?}");
        let there = store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap();
        assert_eq!(there, "one");
    }
}

#[tokio::test]
async fn a_write_over_what_was_seen_is_done_once() {
    let store = store(&[], &[1]);
    let first = create(&store, "one").await.unwrap();
    let over = async |text: &'static str, seen: PutResult| {
        let options = PutOptions::from(PutMode::Update(seen.into()));
        store.put_opts(&Path::from("a"), text.into(), options).await
    };
    // The answer is lost, and what is there is what was written.
    let second = over("two", first.clone()).await.unwrap();
    assert!(matches!(over("three", first).await, Err(Error::Precondition { .. })));
    over("three", second).await.unwrap();
}

/// The page that says that there is no such file may break off too.
#[tokio::test]
async fn an_answer_that_broke_off_is_asked_for_again() {
    let breaking = Breaking { n_broken_reads: 3.into(), ..Breaking::new(&[], &[]) };
    let store = SureStore::new(Arc::new(breaking), Duration::from_secs(20));
    assert!(matches!(store.get(&Path::from("a")).await, Err(Error::NotFound { .. })));
    let breaking = Breaking { n_broken_reads: 1.into(), ..Breaking::new(&[0], &[]) };
    let store = SureStore::new(Arc::new(breaking), Duration::from_secs(20));
    store.put(&Path::from("a"), "one".into()).await.unwrap();
    assert_eq!(store.get(&Path::from("a")).await.unwrap().bytes().await.unwrap(), "one");
}

#[tokio::test]
async fn patience_ends() {
    let writes: Vec<usize> = (0..100).collect();
    let store = SureStore::new(Arc::new(Breaking::new(&writes, &[])), Duration::ZERO);
    let error = create(&store, "one").await.unwrap_err();
    assert!(error.to_string().contains("connection reset"), "{error}");
}
