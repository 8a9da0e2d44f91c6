//! How an operation passes: stall, power, latency, and the one moment at which it takes effect.

use std::{future::poll_fn, io, path::Path, sync::PoisonError, task::Poll, time::Duration};

use madsim::time::TimeHandle;
use rand::Rng as _;
use tidegate::event::Moment;

use super::{
    Core, DiskConfig, DiskEvent, SimDisk, device_error,
    fault::{DiskFaultKind, Operation},
    no_space, unreachable_storage,
};
use crate::world::{
    network::wait_until,
    witness::{Act, Fate},
};

/// When an operation takes effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    First,
    Last,
}

impl Core {
    pub(super) fn strike(&mut self, operation: Operation, idle: bool, paths: &[&Path]) -> Option<DiskFaultKind> {
        let struck = self.faults.strike(operation, idle, paths, &mut self.fault_random)?;
        self.counts.add(struck.name(), 1);
        Some(struck)
    }

    /// Strikes operations on which a fault can only be an error without effect.
    pub(super) fn strike_plain(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.strike(operation, true, &[path]) {
            None => Ok(()),
            Some(DiskFaultKind::FullDisk) => Err(no_space()),
            Some(_) => Err(device_error()),
        }
    }

    fn draw_latency(&mut self, operation: Operation) -> Duration {
        let DiskConfig { latency_min, latency_max, sync_latency_max } = self.config;
        let mut latency = match latency_max {
            Duration::ZERO => Duration::ZERO,
            most => self.latency_random.gen_range(latency_min..=most.max(latency_min)),
        };
        if operation == Operation::Sync && sync_latency_max > Duration::ZERO {
            latency += self.latency_random.gen_range(Duration::ZERO..=sync_latency_max);
        }
        if self.slowness > 1 {
            self.counts.add("slow_device", 1);
        }
        latency * self.slowness
    }
}

impl SimDisk {
    /// Carries out an operation: its effect at one moment, its latency before or after that.
    pub(super) async fn operate<T>(
        &self,
        operation: Operation,
        effect: impl FnOnce(&mut Core, &mut Vec<DiskEvent>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.wait_for_the_end_of_a_stall().await?;
        let (latency, order, power_losses) = {
            let mut core = self.core();
            let latency = core.draw_latency(operation);
            let order = if core.latency_random.gen_bool(0.5) { Effect::First } else { Effect::Last };
            (latency, order, core.power_losses)
        };
        if order == Effect::Last {
            self.pass(latency).await;
            self.check_power(power_losses)?;
        }
        let mut events = Vec::new();
        self.show(operation, Moment::Before).await;
        let result = effect(&mut self.core(), &mut events);
        self.tell(&events);
        self.show(operation, Moment::After).await;
        if order == Effect::First {
            self.pass(latency).await;
            self.check_power(power_losses)?;
        }
        result
    }

    /// Shows an operation to the witness; never ends if the process died of it.
    async fn show(&self, operation: Operation, moment: Moment) {
        if self.witnesses.show(Act::Disk(operation.name()), moment) == Fate::Dead {
            std::future::pending::<()>().await;
        }
    }

    async fn wait_for_the_end_of_a_stall(&self) -> io::Result<()> {
        let mut counted = false;
        poll_fn(|context| {
            let mut core = self.core();
            if !core.has_power {
                return Poll::Ready(Err(unreachable_storage()));
            }
            if !core.stalled.concerns(madsim::plugin::node()) {
                return Poll::Ready(Ok(()));
            }
            core.counts.add("stall", u64::from(!counted));
            counted = true;
            core.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn check_power(&self, power_losses: u64) -> io::Result<()> {
        let core = self.core();
        if core.has_power && core.power_losses == power_losses { Ok(()) } else { Err(unreachable_storage()) }
    }

    async fn pass(&self, latency: Duration) {
        if latency > Duration::ZERO {
            let time = TimeHandle::current();
            wait_until(&time, time.now_instant() + latency).await;
        } else if self.core().latency_random.gen_ratio(1, 4) {
            yield_once().await;
        }
    }

    fn tell(&self, events: &[DiskEvent]) {
        if events.is_empty() {
            return;
        }
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            watchers.iter_mut().for_each(|watcher| watcher(self, event));
        }
    }
}

/// Lets other tasks run. The executor's own function defers to the tokio shell around it, which never comes to run.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
