// hanse in a Node program, by koffi: as consumer.c. HANSE_LIBRARY is the path of libhanse.so.
'use strict';
const koffi = require('koffi');
const assert = require('assert');

const agentCount = 1000;
const dim = 8;
const library = koffi.load(process.env.HANSE_LIBRARY);

koffi.opaque('Kernel');
const Agents = koffi.struct('Agents', {
  size_bytes: 'uint32', kind: 'uint32', parent: 'uint64', names: 'void *', identities: 'void *',
  permissions: 'uint64', budget_max: 'uint64', narrowed: 'uint32', zero: 'uint32',
});
const Offers = koffi.struct('Offers', {
  size_bytes: 'uint32', offer: 'uint32', space: 'str', count: 'uint32', dim: 'uint32',
  agents: 'uint64 *', vectors: 'float *', prices: 'int64 *', tiers: 'void *', skills: 'void *',
  regions: 'void *', policy_bits: 'void *', slots: 'void *', versions: 'void *',
});
const MatchRequest = koffi.struct('MatchRequest', {
  size_bytes: 'uint32', k: 'uint32', space: 'str', queries: 'float *', query_count: 'uint32',
  dim: 'uint32', feasible: 'void *', threads: 'uint32', zero: 'uint32',
});
const Found = koffi.struct('Found', {
  agent: 'uint64', offer: 'uint32', version: 'uint32', score: 'float', zero: 'uint32',
});
const Delivery = koffi.struct('Delivery', {
  size_bytes: 'uint32', kind: 'int32', to: 'uint64', sender: 'uint64', payload_size: 'uint64',
  sequence: 'uint64', request: 'uint64', task: 'uint64', deadline_ns: 'uint64', attempt: 'uint32',
  latent_missing: 'uint32', task_class: koffi.array('char', 72), durable: 'uint32', lane: 'uint32',
});
const DispatchRequest = koffi.struct('DispatchRequest', {
  size_bytes: 'uint32', dim: 'uint32', to: 'uint64', query: 'float *', space: 'str',
  feasible: 'void *', task_class: 'str', payload: 'str', payload_size: 'size_t', key: 'str',
  key_size: 'size_t', budget: 'uint64', unit: 'str', deadline_ns: 'uint64',
  verifier_required: 'uint32', zero: 'uint32',
});
const Receipt = koffi.struct('Receipt', {
  size_bytes: 'uint32', outcome: 'int32', durability: 'int32', attempt: 'uint32', task: 'uint64',
  agent: 'uint64', offer: 'uint32', version: 'uint32', score: 'float', zero: 'uint32',
  price: 'uint64', held: 'uint64', epoch: 'uint64', position: 'uint64',
  reason: koffi.array('char', 160),
});
const Task = koffi.struct('Task', {
  size_bytes: 'uint32', state: 'int32', requester: 'uint64', worker: 'uint64', verifier: 'uint64',
  attempt: 'uint32', tier: 'uint32', offer: 'uint32', version: 'uint32', price: 'uint64',
  budget: 'uint64', spent: 'uint64', dispatched_ns: 'uint64', deadline_ns: 'uint64',
  dispatched_at: 'uint64', changed_at: 'uint64', artifact: koffi.array('uint8', 32),
});
const Verification = koffi.struct('Verification', {
  size_bytes: 'uint32', balanced: 'uint32', record_count: 'uint64', segment_count: 'uint64',
  journal_size_bytes: 'uint64', extent_count: 'uint64', torn_bytes: 'uint64',
  root: koffi.array('uint8', 32), state_hash: koffi.array('uint8', 32),
});

const f = (text) => library.func(text);
const errorText = f('const char *hanse_error_text()');
const open = f('int hanse_open(const char *path, void *options, _Out_ Kernel **out)');
const close = f('int hanse_close(Kernel *kernel)');
const addAgents = f('int hanse_agents_add(Kernel *k, uint64 actor, Agents *a, uint32 n, _Out_ uint64 *ids)');
const fund = f('int hanse_fund(Kernel *k, uint64 actor, uint64 agent, uint64 amount, str unit, void *position)');
const balance = f('int hanse_balance(Kernel *k, uint64 actor, uint64 agent, str unit, _Out_ uint64 *out)');
const publish = f('int hanse_publish(Kernel *k, uint64 actor, Offers *offers, void *versions)');
const match = f('int hanse_match(Kernel *k, uint64 actor, MatchRequest *r, _Out_ void *found, _Out_ int32 *counts)');
const send = f('int hanse_send(Kernel *k, uint64 actor, uint64 to, const void *payload, size_t size)');
const receive = f('int hanse_receive(Kernel *k, uint64 agent, _Inout_ Delivery *out, _Out_ void *buffer, size_t size)');
const dispatch = f('int hanse_dispatch(Kernel *k, uint64 actor, DispatchRequest *r, _Inout_ Receipt *out)');
const voidTask = f('int hanse_void(Kernel *k, uint64 actor, uint64 task, void *position)');
const taskState = f('int hanse_task_state(Kernel *k, uint64 actor, uint64 task, _Inout_ Task *out)');
const verify = f('int hanse_verify(const char *path, _Inout_ Verification *out)');

function check(status) {
  if (status !== 0) throw new Error(`status ${status}: ${errorText()}`);
}

// Every field of a struct: what is not said is 0.
function sized(type, fields = {}) {
  const value = {};
  for (const [name, member] of Object.entries(koffi.introspect(type).members)) {
    const kind = koffi.introspect(member.type).primitive;
    if (kind === 'Array') value[name] = new Array(koffi.introspect(member.type).length).fill(0);
    else value[name] = kind === 'Pointer' || kind === 'String' ? null : 0;
    if (kind === 'Array' && koffi.introspect(member.type).ref.name === 'char') value[name] = '';
  }
  return Object.assign(value, { size_bytes: koffi.sizeof(type) }, fields);
}

function openKernel(directory) {
  const out = [null];
  check(open(directory, null, out));
  return out[0];
}

function add(kernel, count) {
  const ids = new BigUint64Array(count);
  check(addAgents(kernel, 0, sized(Agents), count, ids));
  return ids;
}

function vectorsOf(first, count) {
  const out = new Float32Array(count * dim);
  for (let i = 0; i < count; ++i)
    for (let d = 0; d < dim; ++d) out[i * dim + d] = Math.sin(first + i + 1 + 10 * d);
  return out;
}

function publishAll(kernel, agents) {
  check(publish(kernel, 0, sized(Offers, {
    count: agentCount, dim, agents, vectors: vectorsOf(0, agentCount),
    prices: new BigInt64Array(agentCount).fill(1n),
  }), null));
}

function begin(directory) {
  const kernel = openKernel(directory);
  const agents = add(kernel, agentCount);
  const query = vectorsOf(5, 1);
  publishAll(kernel, agents);

  const found = Buffer.alloc(3 * koffi.sizeof(Found));
  const counts = new Int32Array(1);
  check(match(kernel, 0, sized(MatchRequest, { k: 3, queries: query, query_count: 1, dim }), found, counts));
  assert.strictEqual(counts[0], 3);
  assert.strictEqual(found.readBigUInt64LE(0), agents[5]);

  const buffer = Buffer.alloc(64);
  const delivery = sized(Delivery);
  check(send(kernel, agents[0], agents[1], Buffer.from('hello'), 5));
  check(receive(kernel, agents[1], delivery, buffer, buffer.length));
  assert.strictEqual(buffer.toString('utf8', 0, Number(delivery.payload_size)), 'hello');

  check(fund(kernel, 0, agents[0], 1000, null, null));
  const receipt = sized(Receipt);
  check(dispatch(kernel, agents[0], sized(DispatchRequest, {
    dim, query, payload: 'what to do', payload_size: 10, budget: 100, key: 'key-1', key_size: 5,
  }), receipt));
  assert.strictEqual(BigInt(receipt.agent), agents[5]);
  assert.strictEqual(Number(receipt.held), 100);
  console.log(`task ${receipt.task}`);
  setInterval(() => {}, 1 << 30);
}

function resume(directory, task) {
  const kernel = openKernel(directory);
  const state = sized(Task);
  check(taskState(kernel, 0, task, state));
  assert.ok(state.state === 0 && Number(state.budget) === 100);
  const delivery = sized(Delivery);
  const buffer = Buffer.alloc(64);
  check(receive(kernel, state.worker, delivery, buffer, buffer.length));
  assert.strictEqual(BigInt(delivery.task), task);
  const available = new BigUint64Array(1);
  check(balance(kernel, 0, state.requester, null, available));
  assert.strictEqual(available[0], 900n);
  check(close(kernel));
  const found = sized(Verification);
  check(verify(directory, found));
  assert.ok(found.balanced === 1 && Number(found.record_count) > 4);
  console.log('ok');
}

// `count` times one operation; each is what a caller of this language would write.
function bench(operation, count) {
  const kernel = openKernel(null);
  const agents = add(kernel, agentCount);
  const query = vectorsOf(5, 1);
  publishAll(kernel, agents);
  check(fund(kernel, 0, agents[0], 1000, null, null));
  const buffer = Buffer.alloc(64);
  const delivery = sized(Delivery);
  const receipt = sized(Receipt);
  const offers = sized(Offers, { count: 1, dim, agents: agents.slice(5, 6), vectors: query });
  const request = sized(DispatchRequest, {
    to: agents[1], payload: 'x'.repeat(64), payload_size: 64, budget: 1,
  });
  const found = Buffer.alloc(3 * koffi.sizeof(Found));
  const wanted = sized(MatchRequest, { k: 3, queries: query, query_count: 1, dim });
  const counts = new Int32Array(1);
  const operations = {
    open: () => check(close(openKernel(null))),
    publish: () => check(publish(kernel, 0, offers, null)),
    match: () => {
      check(match(kernel, 0, wanted, found, counts));
      assert.strictEqual(found.readBigUInt64LE(0), agents[5]);
    },
    talk: () => {
      check(send(kernel, agents[0], agents[1], buffer, buffer.length));
      check(receive(kernel, agents[1], delivery, buffer, buffer.length));
    },
    dispatch: () => {
      check(dispatch(kernel, agents[0], request, receipt));
      check(receive(kernel, agents[1], delivery, buffer, buffer.length));
      check(voidTask(kernel, agents[0], receipt.task, null));
    },
  };
  const run = operations[operation];
  const begun = process.hrtime.bigint();
  for (let i = 0; i < count; ++i) run();
  console.log((Number(process.hrtime.bigint() - begun) / count).toFixed(1));
  check(close(kernel));
}

const [command, directory, task] = process.argv.slice(2);
if (command === 'begin') begin(directory);
else if (command === 'resume') resume(directory, BigInt(task));
else if (command === 'bench') bench(directory, Number(task));
else throw new Error('begin DIR, resume DIR TASK or bench OPERATION COUNT');
