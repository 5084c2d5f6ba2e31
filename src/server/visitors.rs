//! Who is being served: what nobody asked for waits until nobody is.

use tokio::sync::watch;

/// Callers who wait for something to be made.
#[derive(Debug)]
pub(crate) struct Visitors {
    here: watch::Sender<usize>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    visitors: &'a Visitors,
}

impl Visitors {
    pub(crate) fn none() -> Self {
        Self { here: watch::Sender::new(0) }
    }

    /// Somebody came.
    pub(crate) fn enter(&self) -> Visit<'_> {
        self.here.send_modify(|here| *here += 1);
        Visit { visitors: self }
    }

    /// Waits until nobody is here.
    pub(crate) async fn gone(&self) {
        self.wait(|here| here == 0).await;
    }

    /// Waits until somebody is here.
    pub(crate) async fn came(&self) {
        self.wait(|here| here > 0).await;
    }

    async fn wait(&self, right: impl Fn(usize) -> bool) {
        // An error is a sender that is gone, and this is the sender.
        let _ = self.here.subscribe().wait_for(|here| right(*here)).await;
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.visitors.here.send_modify(|here| *here -= 1);
    }
}

#[cfg(test)]
mod tests;
