//! Asks for network interfaces until they are known: at once, and then less and less often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fw_cloud::{EniId, MetadataError};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Answer, Registry};
use crate::netlink::state::Mac;

/// The wait after the first round that has not answered all; each further one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(250);

/// A device that is no network interface of AWS is asked for as well, so the metadata is not asked more often than this for ever.
const LONGEST: Duration = Duration::from_secs(30);

/// Answers what is wished for until nobody listens.
pub(super) async fn ask(
    registry: Arc<dyn Registry>,
    mut wishes: watch::Receiver<BTreeSet<Mac>>,
    answers: mpsc::Sender<Answer>,
) {
    let mut found = BTreeMap::new();
    loop {
        let mut wait = FIRST;
        let wanted = wishes.borrow_and_update().clone();
        loop {
            let answer = round(&*registry, &wanted, &found).await;
            found.extend(answer.found.clone());
            let is_done = wanted.iter().all(|mac| found.contains_key(mac));
            if !wanted.is_empty() && answers.send(answer).await.is_err() {
                return;
            }
            if is_done {
                break;
            }
            match timeout(wait, wishes.changed()).await {
                Err(_elapsed) => wait = (wait * 2).min(LONGEST),
                Ok(Ok(())) => break,
                Ok(Err(_closed)) => return,
            }
        }
        let is_all = wishes.borrow().iter().all(|mac| found.contains_key(mac));
        if is_all && wishes.changed().await.is_err() {
            return;
        }
    }
}

/// Asks for each device that is not found once.
async fn round(registry: &dyn Registry, wanted: &BTreeSet<Mac>, found: &BTreeMap<Mac, EniId>) -> Answer {
    let mut answer = Answer::default();
    let mut unknown = Vec::new();
    for mac in wanted {
        if let Some(eni) = found.get(mac) {
            answer.found.insert(*mac, eni.clone());
            continue;
        }
        match registry.interface(*mac).await {
            Ok(Some(eni)) => {
                answer.found.insert(*mac, eni);
            }
            Ok(None) => unknown.push(mac.to_string()),
            // That is of this device alone.
            Err(error @ MetadataError::Unexpected(_)) => answer.problem = Some(error.to_string()),
            Err(error @ (MetadataError::Unreachable(_) | MetadataError::NoToken(_))) => {
                answer.problem = Some(error.to_string());
                // The next device would wait for the same.
                break;
            }
        }
    }
    if answer.problem.is_none() && !unknown.is_empty() {
        let unknown = unknown.join(", ");
        answer.problem = Some(format!(
            "the instance metadata does not know yet which network interfaces these devices are: {unknown}"
        ));
    }
    answer
}
