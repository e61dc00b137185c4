//! The part of hanse.h that this program uses, by hand.
#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_void};

pub type Status = i32;
pub type Id = u64;

#[repr(C)]
pub struct Kernel {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct Agents {
    pub size_bytes: u32,
    pub kind: u32,
    pub parent: Id,
    pub names: *const *const c_char,
    pub identities: *const u8,
    pub permissions: u64,
    pub budget_max: u64,
    pub narrowed: u32,
    pub zero: u32,
}

#[repr(C)]
pub struct Offers {
    pub size_bytes: u32,
    pub offer: u32,
    pub space: *const c_char,
    pub count: u32,
    pub dim: u32,
    pub agents: *const Id,
    pub vectors: *const f32,
    pub prices: *const i64,
    pub tiers: *const u8,
    pub skills: *const u64,
    pub regions: *const u16,
    pub policy_bits: *const u64,
    pub slots: *const u16,
    pub versions: *const u32,
}

#[repr(C)]
pub struct MatchRequest {
    pub size_bytes: u32,
    pub k: u32,
    pub space: *const c_char,
    pub queries: *const f32,
    pub query_count: u32,
    pub dim: u32,
    pub feasible: *const c_void,
    pub threads: u32,
    pub zero: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Found {
    pub agent: Id,
    pub offer: u32,
    pub version: u32,
    pub score: f32,
    pub zero: u32,
}

#[repr(C)]
pub struct Delivery {
    pub size_bytes: u32,
    pub kind: i32,
    pub to: Id,
    pub sender: Id,
    pub payload_size: u64,
    pub sequence: u64,
    pub request: u64,
    pub task: Id,
    pub deadline_ns: u64,
    pub attempt: u32,
    pub latent_missing: u32,
    pub task_class: [c_char; 72],
    pub durable: u32,
    pub lane: u32,
}

#[repr(C)]
pub struct DispatchRequest {
    pub size_bytes: u32,
    pub dim: u32,
    pub to: Id,
    pub query: *const f32,
    pub space: *const c_char,
    pub feasible: *const c_void,
    pub task_class: *const c_char,
    pub payload: *const c_void,
    pub payload_size: usize,
    pub key: *const c_void,
    pub key_size: usize,
    pub budget: u64,
    pub unit: *const c_char,
    pub deadline_ns: u64,
    pub verifier_required: u32,
    pub zero: u32,
}

#[repr(C)]
pub struct Receipt {
    pub size_bytes: u32,
    pub outcome: i32,
    pub durability: i32,
    pub attempt: u32,
    pub task: Id,
    pub agent: Id,
    pub offer: u32,
    pub version: u32,
    pub score: f32,
    pub zero: u32,
    pub price: u64,
    pub held: u64,
    pub epoch: u64,
    pub position: u64,
    pub reason: [c_char; 160],
}

#[repr(C)]
pub struct Task {
    pub size_bytes: u32,
    pub state: i32,
    pub requester: Id,
    pub worker: Id,
    pub verifier: Id,
    pub attempt: u32,
    pub tier: u32,
    pub offer: u32,
    pub version: u32,
    pub price: u64,
    pub budget: u64,
    pub spent: u64,
    pub dispatched_ns: u64,
    pub deadline_ns: u64,
    pub dispatched_at: u64,
    pub changed_at: u64,
    pub artifact: [u8; 32],
}

#[repr(C)]
pub struct Verification {
    pub size_bytes: u32,
    pub balanced: u32,
    pub record_count: u64,
    pub segment_count: u64,
    pub journal_size_bytes: u64,
    pub extent_count: u64,
    pub torn_bytes: u64,
    pub root: [u8; 32],
    pub state_hash: [u8; 32],
}

extern "C" {
    pub fn hanse_error_text() -> *const c_char;
    pub fn hanse_open(path: *const c_char, options: *const c_void, out: *mut *mut Kernel) -> Status;
    pub fn hanse_close(kernel: *mut Kernel) -> Status;
    pub fn hanse_agents_add(kernel: *mut Kernel, actor: Id, agents: *const Agents, count: u32, ids: *mut Id) -> Status;
    pub fn hanse_fund(kernel: *mut Kernel, actor: Id, agent: Id, amount: u64, unit: *const c_char, position: *mut u64) -> Status;
    pub fn hanse_balance(kernel: *mut Kernel, actor: Id, agent: Id, unit: *const c_char, out: *mut u64) -> Status;
    pub fn hanse_publish(kernel: *mut Kernel, actor: Id, offers: *const Offers, versions: *mut u32) -> Status;
    pub fn hanse_match(kernel: *mut Kernel, actor: Id, request: *const MatchRequest, found: *mut Found, counts: *mut i32) -> Status;
    pub fn hanse_send(kernel: *mut Kernel, actor: Id, to: Id, payload: *const c_void, size: usize) -> Status;
    pub fn hanse_receive(kernel: *mut Kernel, agent: Id, out: *mut Delivery, buffer: *mut c_void, size: usize) -> Status;
    pub fn hanse_dispatch(kernel: *mut Kernel, actor: Id, request: *const DispatchRequest, out: *mut Receipt) -> Status;
    pub fn hanse_void(kernel: *mut Kernel, actor: Id, task: Id, position: *mut u64) -> Status;
    pub fn hanse_task_state(kernel: *mut Kernel, actor: Id, task: Id, out: *mut Task) -> Status;
    pub fn hanse_verify(path: *const c_char, out: *mut Verification) -> Status;
}
