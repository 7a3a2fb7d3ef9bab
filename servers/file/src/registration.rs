//! Registration and heartbeats: how a file server gets its fences and keeps its lease.
//!
//! Invariants:
//! * fences are in force and durable before the lease that came with them begins or goes on, and before a heartbeat tells
//!   their version; of one boot, a version that was told is never followed by a lower one;
//! * a registration is followed by a heartbeat at once: only that shows the metadata server which fences are in force;
//! * a new store gets its label before its first lease;
//! * an answer of an earlier boot than one that was heard of renews nothing;
//! * all this has a thread of its own, so no load of data delays a heartbeat.

use crate::boot_time;
use crate::label::{self, LabelError};
use crate::metadata_link::MetadataLink;
use crate::server::FileServer;
use anyhow::Context;
use pfs_core::ids::Boot;
use pfs_proto::metadata::{Fences, Heartbeat, HeartbeatAnswer, Label, RegisterFileServer, Registration};
use pfs_proto::secret::Secret;
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::v1;
use pfs_proto::v1::metadata_client::MetadataClient;
use pfs_server_runtime::{CancellationToken, Connections};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

const REGISTER_TIME_MAX: Duration = Duration::from_secs(5);
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// Why a registration did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Nobody answers. It may be tried again.
    #[error("cannot register with the metadata server: {0}")]
    Silence(ErrorDetail),
    /// It was refused, for a reason that time does not heal.
    #[error("the metadata server refused this file server: {0}")]
    Refused(ErrorDetail),
    /// The answer makes no sense.
    #[error("the metadata server's answer was refused: {0}")]
    Answer(#[from] pfs_proto::convert::ConvertError),
    /// An answer of a metadata server that was replaced.
    #[error("the metadata server answered as {answered}, but {known} was heard of already; end the earlier one")]
    EarlierBoot {
        /// The answer's.
        answered: Boot,
        /// The latest that is known.
        known: Boot,
    },
    /// The store is somebody else's.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The store cannot take the label or the fences.
    #[error("cannot complete the registration: {0}")]
    Disk(String),
}

impl RegistrationError {
    fn of_answer(error: ErrorDetail) -> Self {
        match error.code {
            ErrorCode::Unavailable => RegistrationError::Silence(error),
            _ => RegistrationError::Refused(error),
        }
    }

    fn may_pass(&self) -> bool {
        matches!(self, RegistrationError::Silence(_) | RegistrationError::EarlierBoot { .. })
    }
}

/// What a registrar needs besides the server.
pub struct Registrar {
    /// The server.
    pub server: Arc<FileServer>,
    /// "host:port" at which clients reach it.
    pub address: String,
    /// Addresses of the metadata server.
    pub metadata: Vec<String>,
    /// Proves who speaks.
    pub secret: Secret,
    /// Those of the server, which end with a lease.
    pub connections: Connections,
    /// Ends the thread.
    pub shutdown: CancellationToken,
}

/// A thread that registers and keeps the lease.
pub struct Registering {
    /// Told when the first registration is complete, or can never be.
    pub registered: oneshot::Receiver<Result<(), RegistrationError>>,
    /// Told, or broken, when the thread has ended.
    pub ended: oneshot::Receiver<()>,
}

impl Registrar {
    /// Starts the thread.
    pub fn start(self) -> anyhow::Result<Registering> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot make the runtime of the heartbeats")?;
        let link = {
            let _inside = runtime.enter();
            MetadataLink::new(&self.metadata, &self.secret)?
        };
        let (tell_registered, registered) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let run = move || {
            let shutdown = self.shutdown.clone();
            let session = Session { registrar: self, link, in_force: Mutex::new(None) };
            runtime.block_on(async {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = session.run(tell_registered) => {}
                }
            });
            drop(session);
            // Nobody may wait for it any more.
            let _ = tell_ended.send(());
        };
        std::thread::Builder::new()
            .name("pfs-heartbeat".into())
            .spawn(run)
            .context("cannot start the thread of the heartbeats")?;
        Ok(Registering { registered, ended })
    }
}

/// The terms of a registration.
#[derive(Clone, Copy, Debug)]
struct Terms {
    server: pfs_core::ids::ServerId,
    heartbeat: Duration,
    lease: Duration,
}

/// Pauses that grow.
struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        BackOff(BACK_OFF_MIN)
    }
}

impl BackOff {
    async fn pause(&mut self, error: &RegistrationError) {
        tracing::warn!(%error, "not registered; trying again");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACK_OFF_MAX);
    }
}

/// Which fences of the metadata server are in force and durable here. Later is greater.
type FenceVersion = (Boot, u64);

struct Session {
    registrar: Registrar,
    link: MetadataLink,
    in_force: Mutex<Option<FenceVersion>>,
}

impl Session {
    /// Registers, and keeps the registration. Returns early only if the first one can never be.
    async fn run(&self, tell_registered: oneshot::Sender<Result<(), RegistrationError>>) {
        let first = self.register_first().await;
        let (outcome, mut terms) = match first {
            Ok(terms) => (Ok(()), Some(terms)),
            Err(error) => (Err(error), None),
        };
        // Without anybody who waits for the start, there is no server to keep registered.
        let nobody_waits = tell_registered.send(outcome).is_err();
        while let Some(kept) = terms.filter(|_| !nobody_waits) {
            self.heartbeat_until_lost(kept).await;
            terms = Some(self.register_again().await);
        }
    }

    /// Waits for a metadata server, but not for one that has refused.
    async fn register_first(&self) -> Result<Terms, RegistrationError> {
        let mut back_off = BackOff::default();
        loop {
            match self.register().await {
                Err(error) if error.may_pass() => back_off.pause(&error).await,
                other => return other,
            }
        }
    }

    /// Tries for as long as the server runs: it serves no data meanwhile, and whatever is wrong may be put right.
    async fn register_again(&self) -> Terms {
        let mut back_off = BackOff::default();
        loop {
            match self.register().await {
                Ok(terms) => return terms,
                Err(error) => back_off.pause(&error).await,
            }
        }
    }

    async fn register(&self) -> Result<Terms, RegistrationError> {
        let server = &self.registrar.server;
        let request = RegisterFileServer {
            label: server.label.get().cloned(),
            server_name: server.name.clone(),
            address: self.registrar.address.clone(),
            instance: server.instance,
            space: server.space().await.map_err(|error| RegistrationError::Disk(error.message))?,
        };
        let request = v1::RegisterFileServerRequest::from(request);
        let sent_ns = boot_time::now_ns();
        let ask = |mut client: MetadataClient<_>| {
            let request = request.clone();
            async move { client.register_file_server(request).await }
        };
        let reply = self.link.ask(REGISTER_TIME_MAX, ask).await.map_err(RegistrationError::of_answer)?;
        let registration = Registration::try_from(reply)?;
        self.take_label(&registration.label).await?;
        self.take_fences((registration.boot, registration.fence_version), registration.fences).await?;
        let lease = Duration::from_millis(registration.lease_ms);
        server.gate.begin_lease(sent_ns, lease, || self.registrar.connections.begin_anew()).await;
        tracing::info!(server = %registration.label.server, boot = %registration.boot, instance = %server.instance, "registered");
        let heartbeat = Duration::from_millis(registration.heartbeat_ms);
        Ok(Terms { server: registration.label.server, heartbeat, lease })
    }

    /// A new store takes the label; one that has a label must be the one that is meant.
    async fn take_label(&self, given: &Label) -> Result<(), RegistrationError> {
        let server = self.registrar.server.clone();
        if let Some(ours) = server.label.get() {
            return Ok(label::check(&server.directory, ours, given)?);
        }
        let given = given.clone();
        let stored = tokio::task::spawn_blocking(move || {
            label::store(&server.directory, &server.name, &given)?;
            server.label.get_or_init(|| given);
            anyhow::Ok(())
        });
        let stored = stored.await.map_err(|error| RegistrationError::Disk(error.to_string()))?;
        stored.map_err(|error| RegistrationError::Disk(format!("{error:#}")))
    }

    /// Puts fences in force.
    async fn take_fences(&self, version: FenceVersion, given: Fences) -> Result<(), RegistrationError> {
        let server = &self.registrar.server;
        let boot = version.0;
        if let Some(known) = server.gate.fences().boot_floor.filter(|known| boot < *known) {
            return Err(RegistrationError::EarlierBoot { answered: boot, known });
        }
        let fences = pfs_core::fence::Fences {
            boot_floor: Some(boot),
            incarnations: given.incarnations.into_iter().collect(),
            groups: given.groups.into_iter().collect(),
            incarnation_floor: given.incarnation_floor,
            live_below_floor: given.live_below_floor.into_iter().collect(),
        };
        server.fence(fences).await.map_err(|error| RegistrationError::Disk(error.message))?;
        for drain in given.drains {
            server.gate.drain(drain.stamp, drain.sequence).await;
        }
        for file in given.deleted_files {
            server.gate.remove_file(file).await;
        }
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        *in_force = (*in_force).max(Some(version));
        Ok(())
    }

    fn in_force(&self) -> Option<FenceVersion> {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends heartbeats until the registration is lost or the lease has ended.
    async fn heartbeat_until_lost(&self, terms: Terms) {
        let gate = &self.registrar.server.gate;
        let mut wait = Duration::ZERO;
        loop {
            self.pause(wait).await;
            let told = self.in_force();
            wait = match self.heartbeat(terms, told).await {
                Ok(true) if self.in_force() > told => Duration::ZERO,
                Ok(true) => terms.heartbeat,
                Ok(false) => {
                    tracing::warn!("the metadata server does not know this registration, or the lease has ended");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "a heartbeat was not answered");
                    if !gate.has_lease() {
                        tracing::error!("the lease has ended; no data is served until the metadata server answers");
                        return;
                    }
                    (terms.heartbeat / 4).max(BACK_OFF_MIN)
                }
            };
        }
    }

    /// Waits for the next heartbeat, or until a request shows that there is a later boot to be heard of.
    async fn pause(&self, wait: Duration) {
        let least = wait.min(BACK_OFF_MIN);
        tokio::time::sleep(least).await;
        tokio::select! {
            () = tokio::time::sleep(wait - least) => {}
            () = self.registrar.server.gate.later_boot_met() => {}
        }
    }

    /// One heartbeat. False: register again.
    async fn heartbeat(&self, terms: Terms, told: Option<FenceVersion>) -> Result<bool, RegistrationError> {
        let server = &self.registrar.server;
        let (boot, fence_version) = told.expect("a registration has given fences");
        let space = server.space().await.map_err(|error| RegistrationError::Disk(error.message))?;
        let busiest = server.traffic.take_busiest();
        let request = v1::HeartbeatRequest::from(Heartbeat {
            server: terms.server,
            instance: server.instance,
            space,
            boot,
            fence_version,
            counters: server.traffic.counters(),
            busiest: busiest.clone(),
        });
        server.traffic.set_space(space);
        let sent_ns = boot_time::now_ns();
        let ask = |mut client: MetadataClient<_>| {
            let request = request.clone();
            async move { client.heartbeat(request).await }
        };
        let time_max = (terms.lease / 4).clamp(Duration::from_millis(100), REGISTER_TIME_MAX);
        let reply = self.link.ask(time_max, ask).await.map_err(RegistrationError::of_answer);
        let reply = reply.inspect_err(|_| server.traffic.give_back(busiest))?;
        let answer = HeartbeatAnswer::try_from(reply)?;
        self.take_fences((answer.boot, answer.fence_version), answer.fences).await?;
        Ok(answer.registered && server.gate.renew_lease(sent_ns, terms.lease))
    }
}
