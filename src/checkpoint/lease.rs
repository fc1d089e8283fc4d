//! The right to write: taken by appending to the chain of manifests, kept by beats, lost for good once another has appended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Epoch, Error, Result};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::beat::{Beat, Verdict, Watch, beat_name};
use crate::chain::{self, Appended};
use crate::manifest::FORMAT;
use crate::renewal::{BootClock, Renewals};
use crate::unnamed::Unnamed;
use crate::{Holder, Identity, Incarnation, LocalIdentity, Manifest, ManifestFile, Remote, decide};

/// Who asks for the lease.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What the data directory holds; None if it is empty or absent. Its owner must have locked it.
    pub local: Option<LocalIdentity>,
    /// The data directory.
    pub directory: PathBuf,
    /// Wait until a living holder is gone, instead of an error.
    pub take_over: bool,
}

/// The right to write, shared by all who need it. One process holds it; others find out at their next append that they do not.
#[derive(Clone)]
pub struct Lease {
    shared: Arc<Shared>,
}

struct Shared {
    remote: Remote,
    boot: BootClock,
    lease: Uuid,
    fence: u64,
    directory: Uuid,
    path: PathBuf,
    /// The newest manifest of the chain; ours while we hold the lease.
    head: Mutex<Arc<Manifest>>,
    renewals: Mutex<Renewals>,
    end: watch::Sender<End>,
    /// One append at a time: each takes the next number.
    appending: tokio::sync::Mutex<()>,
    /// One beat at a time, so that the last one written is the last one meant. Counts them.
    beating: tokio::sync::Mutex<u64>,
    /// One upload, restore or prune at a time.
    unnamed: tokio::sync::Mutex<Unnamed>,
}

/// Whether the lease is over.
#[derive(Clone)]
enum End {
    Held,
    Released,
    Lost(Error),
}

impl Lease {
    /// Takes the lease and returns it with the newest manifest before it, if there was one.
    ///
    /// Refuses (`Fenced`) what [`decide`] refuses, before anything is written, and a lease that another process holds; with `take_over`
    /// it waits until that one is gone. After a crash without `release` this takes 15 seconds, unless the same directory on the same
    /// running machine comes back. Start [`Lease::keep_alive`] at once.
    pub async fn acquire(remote: &Remote, claim: Claim) -> Result<(Lease, Option<Manifest>)> {
        let boot = BootClock::new(remote.clock.clone());
        let directory = claim.local.as_ref().map_or_else(Uuid::new_v4, |local| local.identity.directory);
        let holder = Holder::here(directory, &claim.directory);
        let lease = Uuid::new_v4();
        loop {
            let before = remote.newest().await?;
            decide(claim.local.as_ref(), before.as_ref())?;
            if let Some(newest) = &before
                && !wait_until_free(remote, &boot, newest, &holder, claim.take_over).await?
            {
                continue;
            }
            let next = claiming(before.as_ref(), &claim, &holder, lease, remote.clock.now());
            let began = boot.now();
            if let Appended::Taken(_) = chain::append(remote, &next).await? {
                continue;
            }
            let held = Lease::held(remote.clone(), boot, next, claim.directory, began);
            held.beat(false).await?;
            return Ok((held, before));
        }
    }

    fn held(remote: Remote, boot: BootClock, head: Manifest, path: PathBuf, began: Duration) -> Lease {
        let renewals = Mutex::new(Renewals::new(began, remote.timing.good));
        let shared = Shared {
            remote,
            boot,
            lease: head.lease,
            fence: head.fence,
            directory: head.holder.directory,
            path,
            head: Mutex::new(Arc::new(head)),
            renewals,
            end: watch::channel(End::Held).0,
            appending: tokio::sync::Mutex::default(),
            beating: tokio::sync::Mutex::default(),
            unnamed: tokio::sync::Mutex::default(),
        };
        Lease { shared: Arc::new(shared) }
    }

    /// Renews the lease every 5 seconds until it is released (Ok) or lost (`Fenced`). An object store that does not answer is waited for.
    pub fn keep_alive(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let lease = self.clone();
        async move {
            let mut end = lease.shared.end.subscribe();
            let beat = lease.shared.remote.timing.beat;
            let mut wait = beat;
            loop {
                match &*end.borrow_and_update() {
                    End::Held => {}
                    End::Released => return Ok(()),
                    End::Lost(error) => return Err(error.clone()),
                }
                if tokio::time::timeout(wait, end.changed()).await.is_ok() {
                    continue;
                }
                // After a failure there is time for one or two more tries before the lease runs out.
                let renewed = tokio::time::timeout(beat / 2, lease.renew()).await;
                wait = if matches!(renewed, Ok(Ok(()))) { beat } else { beat / 10 };
            }
        }
    }

    /// True while writing outside is allowed: the last good renewal began less than 10 seconds ago. Becomes true again if the object
    /// store comes back and nobody else has taken the lease.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(*self.shared.end.borrow(), End::Held) && self.shared.renewals.lock().is_good(self.shared.boot.now())
    }

    /// An error once the lease is lost or released.
    pub fn check(&self) -> Result<()> {
        match &*self.shared.end.borrow() {
            End::Held => Ok(()),
            End::Released => Err(Error::cancelled("the lease on the checkpoint URL has been released")),
            End::Lost(error) => Err(error.clone()),
        }
    }

    /// Waits until the lease is lost, for good. Never returns after a release.
    pub async fn lost(&self) -> Error {
        let mut end = self.shared.end.subscribe();
        loop {
            if let End::Lost(error) = &*end.borrow_and_update() {
                return error.clone();
            }
            if end.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// This holder's number; grows with every holder.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.shared.fence
    }

    /// The newest manifest of the chain, as far as this holder knows.
    #[must_use]
    pub fn head(&self) -> Arc<Manifest> {
        self.shared.head.lock().clone()
    }

    /// Begins an incarnation without data, for a new database in an empty directory.
    pub async fn begin(&self) -> Result<Identity> {
        if self.head().incarnation() == self.shared.fence {
            return Ok(self.identity());
        }
        let fence = self.shared.fence;
        self.append(|next| {
            next.epoch = Epoch(0);
            next.checkpoint = 0;
            next.files.clear();
            next.lineage.push(Incarnation { incarnation: fence, began: next.number, epoch: Epoch(0) });
        })
        .await?;
        Ok(self.identity())
    }

    /// Begins an incarnation with what `base` holds.
    pub(crate) async fn begin_from(&self, base: &Manifest) -> Result<Identity> {
        let fence = self.shared.fence;
        self.append(|next| {
            next.epoch = base.epoch;
            next.checkpoint = base.checkpoint;
            next.files.clone_from(&base.files);
            next.lineage.clone_from(&base.lineage);
            next.lineage.push(Incarnation { incarnation: fence, began: next.number, epoch: base.epoch });
        })
        .await?;
        Ok(self.identity())
    }

    /// Names the files of a finished upload.
    pub(crate) async fn name_files(&self, epoch: Epoch, files: &[ManifestFile]) -> Result<Manifest> {
        self.append(|next| {
            next.epoch = epoch;
            next.checkpoint = next.number;
            next.files = files.to_vec();
        })
        .await
    }

    /// From the next manifest on the chain says that all data below `number` is pruned.
    pub(crate) fn pruned_below(&self, number: u64) {
        let mut head = self.shared.head.lock();
        Arc::make_mut(&mut head).pruned_below = number;
    }

    /// Gives the lease up, so that the next holder need not wait. Nothing may be written afterwards.
    pub async fn release(&self) -> Result<()> {
        self.check()?;
        self.shared.end.send_replace(End::Released);
        self.beat(true).await
    }

    pub(crate) fn remote(&self) -> &Remote {
        &self.shared.remote
    }

    pub(crate) async fn unnamed(&self) -> tokio::sync::MutexGuard<'_, Unnamed> {
        self.shared.unnamed.lock().await
    }

    fn identity(&self) -> Identity {
        Identity::of(&self.head(), self.shared.directory)
    }

    /// Appends a copy of the head with `change`; at most one runs at a time.
    async fn append(&self, change: impl Fn(&mut Manifest)) -> Result<Manifest> {
        let shared = &self.shared;
        let _one = shared.appending.lock().await;
        loop {
            self.check()?;
            let mut next = Manifest::clone(&self.head());
            next.number += 1;
            next.nonce = Uuid::new_v4();
            next.holder = Holder::here(shared.directory, &shared.path);
            next.created_at = shared.remote.clock.now();
            change(&mut next);
            let began = shared.boot.now();
            match chain::append(&shared.remote, &next).await? {
                Appended::Ours => {
                    *shared.head.lock() = Arc::new(next.clone());
                    shared.renewals.lock().created(began);
                    return Ok(next);
                }
                // An earlier create of ours, given up for lost, has arrived after all.
                Appended::Taken(late) if late.lease == shared.lease => *shared.head.lock() = Arc::from(late),
                Appended::Taken(other) => return Err(self.lose(&other)),
            }
        }
    }

    fn lose(&self, to: &Manifest) -> Error {
        let message = format!("the checkpoint at {} was taken over by {}", self.shared.remote.name(), to.holder);
        let error =
            Error::fenced(message).with_hint("this process no longer writes; what it had not uploaded is only in its data directory");
        self.shared.end.send_if_modified(|end| {
            let held = matches!(end, End::Held);
            if held {
                *end = End::Lost(error.clone());
            }
            held
        });
        error
    }

    /// One renewal: a beat, and a look whether somebody has appended in spite of our beats.
    async fn renew(&self) -> Result<()> {
        let shared = &self.shared;
        let began = shared.boot.now();
        self.beat(false).await?;
        let above = self.head().number + 1;
        if let Some(next) = shared.remote.manifest(above).await?
            && next.lease != shared.lease
        {
            return Err(self.lose(&next));
        }
        if !shared.renewals.lock().beat(began, shared.boot.now()) {
            // Others may have seen the lease run out. Only the chain can say whether it is still ours.
            self.append(|_| {}).await?;
        }
        Ok(())
    }

    async fn beat(&self, released: bool) -> Result<()> {
        let shared = &self.shared;
        let mut count = shared.beating.lock().await;
        if !released && !matches!(*shared.end.borrow(), End::Held) {
            return Ok(());
        }
        *count += 1;
        let beat = Beat { lease: shared.lease, holder: Holder::here(shared.directory, &shared.path), count: *count, released };
        shared.remote.overwrite(&beat_name(shared.fence), beat.encode()?).await
    }
}

/// The manifest that takes the lease: what `before` says, one number and one fence further.
fn claiming(before: Option<&Manifest>, claim: &Claim, holder: &Holder, lease: Uuid, now: headwater_types::Micros) -> Manifest {
    let local = claim.local.as_ref().map(|local| &local.identity);
    let number = before.map_or(1, |newest| newest.number + 1);
    // A chain may begin with a directory that was restored from another: incarnations still only grow.
    let fence = before.map_or(0, |newest| newest.fence).max(local.map_or(0, Identity::incarnation)) + 1;
    let first = || vec![Incarnation { incarnation: fence, began: number, epoch: Epoch(0) }];
    let fresh = || Manifest {
        format: FORMAT,
        number,
        fence,
        nonce: Uuid::nil(),
        lease,
        holder: holder.clone(),
        database: local.map_or_else(Uuid::new_v4, |identity| identity.database),
        lineage: local.map_or_else(first, |identity| identity.lineage.clone()),
        epoch: Epoch(0),
        checkpoint: 0,
        pruned_below: 1,
        created_at: now,
        files: Vec::new(),
    };
    let base = before.cloned().unwrap_or_else(fresh);
    Manifest { format: FORMAT, number, fence, lease, nonce: Uuid::new_v4(), holder: holder.clone(), created_at: now, ..base }
}

/// True once the holder of `newest` may no longer write; false if the chain has grown and must be read again.
async fn wait_until_free(remote: &Remote, boot: &BootClock, newest: &Manifest, me: &Holder, take_over: bool) -> Result<bool> {
    let mut watch = Watch::default();
    loop {
        let began = boot.now();
        let number = remote.highest(newest.number).await?;
        let bytes = remote.get(&beat_name(newest.fence)).await?;
        let beat = Beat::decode(bytes.as_deref(), newest.lease);
        let released = beat.as_ref().is_some_and(|beat| beat.released);
        let holder = beat.as_ref().map_or(&newest.holder, |beat| &beat.holder);
        if number == newest.number && (released || holder.is_same_place(me)) {
            return Ok(true);
        }
        match watch.observe((number, bytes.clone()), began, boot.now(), &remote.timing) {
            Verdict::Dead => return Ok(true),
            Verdict::Live if !take_over => {
                let message = format!("the checkpoint at {} is in use by {holder}", remote.name());
                return Err(Error::fenced(message).with_hint("stop that process, or pass --take-over to wait until it is gone"));
            }
            Verdict::Live if number != newest.number => return Ok(false),
            Verdict::Live => watch = Watch::default(),
            Verdict::Unknown => {}
        }
        tokio::time::sleep(remote.timing.beat / 5).await;
    }
}
