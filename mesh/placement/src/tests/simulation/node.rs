//! One simulated node: what it knows, what it has on disk, which replica has which GPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shoal_types::{
    Claim, ClaimId, EndpointName, EndpointRecord, FaultAction, GpuFault, GpuUse, Hlc, Liveness, Mandate, MeshId,
    NodeId, NodeView, ReplicaState, UnixMillis, View,
};

use crate::{Desired, Elector, Memory, Scene, Steward, Timing, Word, tests::fleet::at};

/// What was applied, by name; `None` for what was deleted.
pub(super) type Store = BTreeMap<EndpointName, Write>;

/// The last that was applied under a name.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) version: Hlc,
    pub(super) record: Option<Arc<EndpointRecord>>,
}

/// All that a node says of itself at one moment, and its store, which its peers fetch when it differs from theirs.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) version: u64,
    pub(super) node: Arc<NodeView>,
    pub(super) store: Arc<Store>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) elector: Elector,
    pub(super) steward: Steward,
    /// What it knows; of itself, the truth.
    pub(super) view: View,
    pub(super) store: Arc<Store>,
    pub(super) up: bool,
    /// When it started.
    pub(super) generation: UnixMillis,
    counter: u32,
    /// Who has each GPU.
    holders: Vec<Option<ClaimId>>,
    ill: BTreeSet<usize>,
    /// Own replicas that leave for nothing but that they were told to move.
    moving: BTreeSet<ClaimId>,
    /// Own replicas that have asked whether others serve in their place.
    pub(super) asking: BTreeSet<ClaimId>,
    /// Engines fail to start here.
    pub(super) flaky: bool,
    /// Decides late.
    pub(super) slow: bool,
    pub(super) step_at: Option<UnixMillis>,
    /// The last that it said.
    pub(super) said: Option<Arc<Said>>,
    /// The last version that it heard of each other.
    pub(super) heard: Vec<u64>,
    /// Changes whenever it begins or ceases to hear another, for each.
    pub(super) silence: Vec<u64>,
}

impl Node {
    pub(super) fn new(own: NodeView, nodes: usize) -> Self {
        let id = own.id;
        Self {
            id,
            elector: Elector::new(id, Timing::default(), Memory::default()),
            steward: Steward::new(id),
            holders: vec![None; own.gpus.len()],
            view: alone(own),
            store: Arc::default(),
            up: true,
            generation: at(0),
            counter: 0,
            ill: BTreeSet::new(),
            moving: BTreeSet::new(),
            asking: BTreeSet::new(),
            flaky: false,
            slow: false,
            step_at: None,
            said: None,
            heard: vec![0; nodes],
            silence: vec![0; nodes],
        }
    }

    /// Starts again after a crash: of what it knew, only what was on disk is left.
    pub(super) fn restart(&mut self, now: UnixMillis) {
        let mut own = (**self.truth()).clone();
        own.claims.clear();
        own.refusals.clear();
        own.mandates.clear();
        own.demands.clear();
        own.departure = None;
        own.liveness = Liveness::Alive;
        self.elector = Elector::new(self.id, Timing::default(), self.elector.memory().clone());
        self.steward = Steward::new(self.id);
        self.view = alone(own);
        self.learn();
        (self.up, self.generation, self.counter, self.step_at) = (true, now, 0, None);
        self.asking.clear();
        self.moving.clear();
        self.holders.fill(None);
        self.heard.fill(0);
        self.show_gpus();
    }

    /// What is true of it.
    pub(super) fn truth(&self) -> &Arc<NodeView> {
        &self.view.nodes[&self.id]
    }

    pub(super) fn truth_mut(&mut self) -> &mut NodeView {
        Arc::make_mut(self.view.nodes.get_mut(&self.id).unwrap())
    }

    pub(super) fn claims(&self) -> &BTreeMap<ClaimId, Claim> {
        &self.truth().claims
    }

    pub(super) fn claims_mut(&mut self) -> &mut BTreeMap<ClaimId, Claim> {
        &mut self.truth_mut().claims
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.truth().departure.is_some()
    }

    /// What it says when it is asked whether `claim` serves.
    pub(super) fn serves(&self, claim: ClaimId) -> bool {
        let serves = self.claims().get(&claim).is_some_and(|claim| claim.state.serves());
        self.up && serves && !self.asking.contains(&claim)
    }

    /// Takes over what `store` has and it has not; returns whether there was anything.
    pub(super) fn merge(&mut self, store: &Arc<Store>) -> bool {
        if Arc::ptr_eq(store, &self.store) {
            return false;
        }
        let newer = |(name, write): &(&EndpointName, &Write)| {
            self.store.get(*name).is_none_or(|known| known.version < write.version)
        };
        let news: Vec<_> = store.iter().filter(newer).map(|(name, write)| (name.clone(), write.clone())).collect();
        if news.is_empty() {
            return false;
        }
        Arc::make_mut(&mut self.store).extend(news);
        self.learn();
        true
    }

    fn learn(&mut self) {
        let known = |(name, write): (&EndpointName, &Write)| Some((name.clone(), Arc::clone(write.record.as_ref()?)));
        self.view.endpoints = self.store.iter().filter_map(known).collect();
    }

    /// What it decides by.
    pub(super) fn scene(&self, now: UnixMillis) -> Scene<'_> {
        Scene { view: &self.view, memory: self.elector.memory(), now }
    }

    /// What it takes for wanted of `record`.
    pub(super) fn desired(&self, record: &EndpointRecord, now: UnixMillis) -> Desired {
        Desired::of(&self.scene(now), record)
    }

    /// Says what it must be saying as a steward; returns when it is to be asked again.
    pub(super) fn speak(&mut self, now: UnixMillis) -> Option<UnixMillis> {
        let scene = Scene { view: &self.view, memory: self.elector.memory(), now };
        let Word { mandates, wake } = self.steward.step(&scene);
        let mandates: BTreeMap<EndpointName, Mandate> =
            mandates.into_iter().map(|mandate| (mandate.endpoint.clone(), mandate)).collect();
        if self.truth().mandates != mandates {
            self.truth_mut().mandates = mandates;
        }
        wake
    }

    /// A claim id, and GPUs for it that nobody has and that are well, or on which replicas only sleep: those end.
    /// `None` if there are not so many.
    pub(super) fn reserve(&mut self, gpus: u32) -> Option<ClaimId> {
        let mut well: Vec<usize> = (0..self.holders.len()).filter(|index| !self.ill.contains(index)).collect();
        well.retain(|&index| self.holders[index].is_none_or(|claim| self.sleeps(claim)));
        well.sort_by_key(|&index| self.holders[index].is_some());
        well.truncate(gpus as usize);
        if well.len() < gpus as usize {
            return None;
        }
        for asleep in well.iter().filter_map(|&index| self.holders[index]).collect::<BTreeSet<_>>() {
            self.release(asleep);
            self.claims_mut().remove(&asleep);
        }
        self.counter += 1;
        let claim = ClaimId { node: self.id, generation: self.generation, counter: self.counter };
        well.into_iter().for_each(|index| self.holders[index] = Some(claim));
        Some(claim)
    }

    fn sleeps(&self, claim: ClaimId) -> bool {
        self.claims().get(&claim).is_some_and(|claim| claim.state == ReplicaState::Asleep)
    }

    /// Whether the claim sleeps when it has drained, rather than ends.
    pub(super) fn rests(&self, claim: ClaimId) -> bool {
        let claim = &self.claims()[&claim];
        let spec = self.view.endpoints.get(&claim.endpoint).and_then(|record| record.spec_of(claim.revision));
        !self.is_leaving() && claim.leaving.is_none() && spec.is_some_and(|spec| spec.engine.sleep().is_some())
    }

    /// The claim is over, or keeps none of its GPUs.
    pub(super) fn release(&mut self, claim: ClaimId) {
        self.asking.remove(&claim);
        self.holders.iter_mut().filter(|holder| **holder == Some(claim)).for_each(|holder| *holder = None);
    }

    /// A GPU falls ill; the replica that has it must leave.
    pub(super) fn sicken(&mut self, gpu: usize) {
        self.ill.insert(gpu);
        if let Some(claim) = self.holders[gpu] {
            self.moving.remove(&claim);
            self.claims_mut().entry(claim).and_modify(|claim| claim.leaving = Some("Xid 48".to_owned()));
        }
        self.show_gpus();
    }

    /// Lets `told` leave, and those that were told so before and are not any more stay.
    pub(super) fn move_away(&mut self, told: BTreeSet<ClaimId>) {
        for claim in std::mem::take(&mut self.moving).difference(&told) {
            self.claims_mut().entry(*claim).and_modify(|claim| claim.leaving = None);
        }
        for claim in told {
            let stays = self.claims().get(&claim).is_some_and(|claim| claim.leaving.is_none());
            if stays {
                self.claims_mut().entry(claim).and_modify(|claim| claim.leaving = Some("it moves".to_owned()));
            }
            if stays || self.claims().get(&claim).is_some_and(|claim| claim.leaving.as_deref() == Some("it moves")) {
                self.moving.insert(claim);
            }
        }
    }

    pub(super) fn heal_gpus(&mut self) {
        self.ill.clear();
        self.show_gpus();
    }

    /// Brings the inventory up to date. Started replicas are on it, claims that only reserve are not.
    pub(super) fn show_gpus(&mut self) {
        let claims = self.claims();
        let started = |claim: &ClaimId| claims.get(claim).is_none_or(|claim| claim.state != ReplicaState::Claimed);
        let users: Vec<Option<ClaimId>> = self.holders.iter().map(|holder| holder.filter(started)).collect();
        let ill = self.ill.clone();
        for (index, gpu) in self.truth_mut().gpus.iter_mut().enumerate() {
            gpu.used_by = users[index].map_or(GpuUse::Free, GpuUse::Replica);
            gpu.fault = ill.contains(&index).then(|| GpuFault {
                action: FaultAction::DrainGpu,
                reason: "Xid 48".to_owned(),
                since: at(0),
            });
        }
    }
}

fn alone(own: NodeView) -> View {
    let (me, mesh) = (own.id, MeshId::from_bytes([0; 16]));
    View { me, mesh, nodes: [(me, Arc::new(own))].into(), endpoints: BTreeMap::new() }
}
