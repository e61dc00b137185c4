//! hanse in a Rust program, bound by hand: as consumer.c.
mod bindings;

use bindings::*;
use std::ffi::{c_void, CStr, CString};
use std::io::Write;
use std::mem::{size_of, zeroed};
use std::ptr::{null, null_mut};

const AGENTS: usize = 1000;
const DIM: usize = 8;

struct Owner(*mut Kernel);

impl Owner {
    fn open(directory: Option<&str>) -> Owner {
        let path = directory.map(|text| CString::new(text).unwrap());
        let mut kernel = null_mut();
        check(unsafe { hanse_open(path.as_ref().map_or(null(), |p| p.as_ptr()), null(), &mut kernel) });
        Owner(kernel)
    }

    fn add(&self, count: usize) -> Vec<Id> {
        let mut ids = vec![0; count];
        let mut members: Agents = unsafe { zeroed() };
        members.size_bytes = size_of::<Agents>() as u32;
        check(unsafe { hanse_agents_add(self.0, 0, &members, count as u32, ids.as_mut_ptr()) });
        ids
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        unsafe { hanse_close(self.0) };
    }
}

fn check(status: Status) {
    if status != 0 {
        let text = unsafe { CStr::from_ptr(hanse_error_text()) };
        panic!("status {status}: {}", text.to_string_lossy());
    }
}

fn vectors(first: usize, count: usize) -> Vec<f32> {
    let place = |i: usize, d: usize| ((i + 1) as f64 + 10.0 * d as f64).sin() as f32;
    (first..first + count).flat_map(|i| (0..DIM).map(move |d| place(i, d))).collect()
}

fn delivery() -> Delivery {
    let mut out: Delivery = unsafe { zeroed() };
    out.size_bytes = size_of::<Delivery>() as u32;
    out
}

fn publish_and_match(kernel: &Owner, agents: &[Id], query: &[f32]) {
    let (all, prices) = (vectors(0, AGENTS), vec![1i64; AGENTS]);
    let mut offers: Offers = unsafe { zeroed() };
    offers.size_bytes = size_of::<Offers>() as u32;
    offers.count = AGENTS as u32;
    offers.dim = DIM as u32;
    offers.agents = agents.as_ptr();
    offers.vectors = all.as_ptr();
    offers.prices = prices.as_ptr();
    check(unsafe { hanse_publish(kernel.0, 0, &offers, null_mut()) });
    match_one(kernel, agents, query);
}

fn match_one(kernel: &Owner, agents: &[Id], query: &[f32]) {
    let mut request: MatchRequest = unsafe { zeroed() };
    request.size_bytes = size_of::<MatchRequest>() as u32;
    request.k = 3;
    request.queries = query.as_ptr();
    request.query_count = 1;
    request.dim = DIM as u32;
    let (mut found, mut count) = ([Found::default(); 3], 0);
    check(unsafe { hanse_match(kernel.0, 0, &request, found.as_mut_ptr(), &mut count) });
    assert!(count == 3 && found[0].agent == agents[5] && found[0].score >= found[1].score);
}

fn talk(kernel: &Owner, agents: &[Id]) {
    let (mut head, mut buffer) = (delivery(), [0u8; 64]);
    check(unsafe { hanse_send(kernel.0, agents[0], agents[1], b"hello".as_ptr() as *const c_void, 5) });
    check(unsafe {
        hanse_receive(kernel.0, agents[1], &mut head, buffer.as_mut_ptr() as *mut c_void, buffer.len())
    });
    assert_eq!(&buffer[..head.payload_size as usize], b"hello");
    assert_eq!(head.sender, agents[0]);
}

fn begin(directory: &str) {
    let kernel = Owner::open(Some(directory));
    let agents = kernel.add(AGENTS);
    let query = vectors(5, 1);
    publish_and_match(&kernel, &agents, &query);
    talk(&kernel, &agents);
    check(unsafe { hanse_fund(kernel.0, 0, agents[0], 1000, null(), null_mut()) });
    let mut request: DispatchRequest = unsafe { zeroed() };
    request.size_bytes = size_of::<DispatchRequest>() as u32;
    request.dim = DIM as u32;
    request.query = query.as_ptr();
    request.payload = b"what to do".as_ptr() as *const c_void;
    request.payload_size = 10;
    request.budget = 100;
    request.key = b"key-1".as_ptr() as *const c_void;
    request.key_size = 5;
    let mut receipt: Receipt = unsafe { zeroed() };
    receipt.size_bytes = size_of::<Receipt>() as u32;
    check(unsafe { hanse_dispatch(kernel.0, agents[0], &request, &mut receipt) });
    assert!(receipt.agent == agents[5] && receipt.held == 100);
    println!("task {}", receipt.task);
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

fn resume(directory: &str, task: Id) {
    {
        let kernel = Owner::open(Some(directory));
        let mut state: Task = unsafe { zeroed() };
        state.size_bytes = size_of::<Task>() as u32;
        check(unsafe { hanse_task_state(kernel.0, 0, task, &mut state) });
        assert!(state.state == 0 && state.budget == 100);
        let (mut head, mut buffer) = (delivery(), [0u8; 64]);
        check(unsafe {
            hanse_receive(kernel.0, state.worker, &mut head, buffer.as_mut_ptr() as *mut c_void, buffer.len())
        });
        assert!(head.task == task && head.payload_size == 10);
        let mut available = 0;
        check(unsafe { hanse_balance(kernel.0, 0, state.requester, null(), &mut available) });
        assert_eq!(available, 900);
    }
    let path = CString::new(directory).unwrap();
    let mut found: Verification = unsafe { zeroed() };
    found.size_bytes = size_of::<Verification>() as u32;
    check(unsafe { hanse_verify(path.as_ptr(), &mut found) });
    assert!(found.balanced == 1 && found.record_count > 4);
    println!("ok");
}

/// `count` times one operation; each is what a caller of this language would write.
fn bench(operation: &str, count: u32) {
    let kernel = Owner::open(None);
    let agents = kernel.add(AGENTS);
    let query = vectors(5, 1);
    publish_and_match(&kernel, &agents, &query);
    check(unsafe { hanse_fund(kernel.0, 0, agents[0], 1000, null(), null_mut()) });
    let (mut head, mut buffer) = (delivery(), [0u8; 64]);
    let mut offers: Offers = unsafe { zeroed() };
    offers.size_bytes = size_of::<Offers>() as u32;
    offers.count = 1;
    offers.dim = DIM as u32;
    offers.agents = &agents[5];
    offers.vectors = query.as_ptr();
    let mut request: DispatchRequest = unsafe { zeroed() };
    request.size_bytes = size_of::<DispatchRequest>() as u32;
    request.to = agents[1];
    request.payload_size = buffer.len();
    request.budget = 1;
    let mut receipt: Receipt = unsafe { zeroed() };
    receipt.size_bytes = size_of::<Receipt>() as u32;
    let begun = std::time::Instant::now();
    for _ in 0..count {
        let at = buffer.as_mut_ptr() as *mut c_void;
        match operation {
            "open" => drop(Owner::open(None)),
            "publish" => check(unsafe { hanse_publish(kernel.0, 0, &offers, null_mut()) }),
            "match" => match_one(&kernel, &agents, &query),
            "talk" => {
                check(unsafe { hanse_send(kernel.0, agents[0], agents[1], at, buffer.len()) });
                check(unsafe { hanse_receive(kernel.0, agents[1], &mut head, at, buffer.len()) });
            }
            "dispatch" => {
                request.payload = at;
                check(unsafe { hanse_dispatch(kernel.0, agents[0], &request, &mut receipt) });
                check(unsafe { hanse_receive(kernel.0, agents[1], &mut head, at, buffer.len()) });
                check(unsafe { hanse_void(kernel.0, agents[0], receipt.task, null_mut()) });
            }
            _ => panic!("no operation {operation}"),
        }
    }
    println!("{:.1}", begun.elapsed().as_nanos() as f64 / f64::from(count));
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[1..] {
        ["begin", directory] => begin(directory),
        ["resume", directory, task] => resume(directory, task.parse().unwrap()),
        ["bench", operation, count] => bench(operation, count.parse().unwrap()),
        _ => panic!("begin DIR, resume DIR TASK or bench OPERATION COUNT"),
    }
}
