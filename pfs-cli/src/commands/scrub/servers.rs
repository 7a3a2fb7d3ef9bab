//! The file servers at work: all at the same time, with one bar for all.

use super::report::Finding;
use crate::failure::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pfs_core::ids::{ObjectId, ServerId};
use pfs_proto::data::{OBJECTS_PER_SCRUB_MAX, Scrub};
use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::status::error_detail;
use pfs_proto::transport::{MESSAGE_BYTES_MAX, connect};
use pfs_proto::v1::data_client::DataClient;
use pfs_proto::v1::{self, FileServerStatus};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

const BAR: &str = "{prefix} [{bar:30}] {pos}/{len} objects, {msg}";

/// What one file server is to do.
pub struct Errand {
    /// Which one.
    pub server: FileServerStatus,
    /// Which objects, and how fast.
    pub scrub: Scrub,
}

/// What one file server has done.
#[derive(Debug)]
pub struct Scrubbed {
    /// Its number.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes that were compared.
    pub bytes: u64,
    /// What was found.
    pub damage: Vec<Finding>,
    /// Why not everything was looked at.
    pub problem: Option<String>,
}

/// Has all errands done. A server that does not finish keeps no other from doing so.
pub fn scrub(errands: Vec<Errand>, secret: &Secret, quiet: bool) -> Result<Vec<Scrubbed>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::cannot("start an event loop", &error))?;
    let auth = AuthInterceptor::new(secret);
    let progress = Arc::new(Progress::new(errands.len(), quiet));
    let scrubbed = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for (index, errand) in errands.into_iter().enumerate() {
            tasks.spawn(run(errand, auth.clone(), progress.clone(), index));
        }
        tasks.join_all().await
    });
    progress.bar.finish_and_clear();
    let mut scrubbed: Vec<Scrubbed> = scrubbed.into_iter().flatten().collect();
    scrubbed.sort_by_key(|server| server.id);
    Ok(scrubbed)
}

/// How far each server is.
struct Progress {
    bar: ProgressBar,
    servers: Mutex<Vec<v1::ScrubReply>>,
}

impl Progress {
    fn new(servers: usize, quiet: bool) -> Self {
        let style = ProgressStyle::with_template(BAR).expect("the template is a constant").progress_chars("=> ");
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style).with_prefix("scrub");
        Progress { bar, servers: Mutex::new(vec![v1::ScrubReply::default(); servers]) }
    }

    fn show(&self, index: usize, reply: v1::ScrubReply) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers[index] = reply;
        let sum = |of: fn(&v1::ScrubReply) -> u64| servers.iter().map(of).sum::<u64>();
        self.bar.set_length(sum(|server| server.objects_total));
        self.bar.set_position(sum(|server| server.objects_done));
        self.bar.set_message(crate::sizes::human(sum(|server| server.bytes_done)));
    }
}

/// Nothing for a server without a number, which there is not.
async fn run(errand: Errand, auth: AuthInterceptor, progress: Arc<Progress>, index: usize) -> Option<Scrubbed> {
    let FileServerStatus { server_id, name, address, live, .. } = errand.server;
    let id = ServerId::new(server_id)?;
    let mut scrubbed = Scrubbed { id, name, address, objects: 0, bytes: 0, damage: Vec::new(), problem: None };
    if !live {
        scrubbed.problem = Some("it is down".to_owned());
        return Some(scrubbed);
    }
    let Scrub { objects, bytes_per_second } = errand.scrub;
    let total = objects.len() as u64;
    let mut parts: Vec<Vec<ObjectId>> = objects.chunks(OBJECTS_PER_SCRUB_MAX).map(<[_]>::to_vec).collect();
    if parts.is_empty() {
        // All that there is.
        parts.push(Vec::new());
    }
    for objects in parts {
        let (objects_before, bytes_before) = (scrubbed.objects, scrubbed.bytes);
        let show = |reply: &v1::ScrubReply| {
            let objects_total = total.max(objects_before + reply.objects_total);
            let (objects_done, bytes_done) = (objects_before + reply.objects_done, bytes_before + reply.bytes_done);
            progress.show(index, v1::ScrubReply { objects_done, objects_total, bytes_done, damage: Vec::new() });
        };
        if let Err(problem) = part(&mut scrubbed, Scrub { objects, bytes_per_second }, &auth, show).await {
            scrubbed.problem = Some(problem);
            break;
        }
    }
    Some(scrubbed)
}

/// One call, added up.
async fn part(
    scrubbed: &mut Scrubbed,
    scrub: Scrub,
    auth: &AuthInterceptor,
    show: impl Fn(&v1::ScrubReply),
) -> Result<(), String> {
    let channel = connect(&scrubbed.address, auth).map_err(|error| error.to_string())?;
    let mut client = DataClient::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let told = |status| error_detail(&status).message;
    let mut replies = client.scrub(v1::ScrubRequest::from(scrub)).await.map_err(told)?.into_inner();
    let (objects_before, bytes_before) = (scrubbed.objects, scrubbed.bytes);
    let mut last = v1::ScrubReply::default();
    while let Some(reply) = replies.next().await {
        let mut reply = reply.map_err(told)?;
        for damage in std::mem::take(&mut reply.damage) {
            let found = Finding::from_wire(damage, scrubbed.id).map_err(|error| format!("its answer: {error}"))?;
            scrubbed.damage.push(found);
        }
        show(&reply);
        (scrubbed.objects, scrubbed.bytes) = (objects_before + reply.objects_done, bytes_before + reply.bytes_done);
        last = reply;
    }
    if last.objects_done < last.objects_total {
        return Err(format!("it ended after {} of {} objects", last.objects_done, last.objects_total));
    }
    Ok(())
}
