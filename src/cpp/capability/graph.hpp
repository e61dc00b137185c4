// A graph over the rows of a CodeTable that finds near rows without looking at all of them.
// Internal to this concept.
//
// One flat graph with edges chosen as in Vamana (DiskANN, Subramanya et al., NeurIPS 2019). A walk
// looks at the sign codes of neighbours first and at int8 of the best at the end (the order of
// SymphonyQG, Gou et al., arXiv 2411.12229). Under a mask, a walk goes through infeasible
// neighbours to theirs (ACORN, Patel et al., arXiv 2403.04871; NaviX, arXiv 2506.23397).
//
// Removal is in place: a removed row can't be found at once, and those that pointed at it get
// other neighbours, some at each change (after IP-DiskANN, Xu et al., arXiv 2502.13826). Every node
// but the entry points has a parent whose edge to it is never given up, so that every node can be
// reached always.
//
// Threads: any number of walks, each with a GraphScratch of its own, beside one `update` at a time
// (the table's writer). Walks take no lock and wait for nobody.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "capability/codes.hpp"

namespace hanse {

struct GraphOptions {
  uint32_t degree = 32;       // edges of a node at most; 8 … 64
  uint32_t build_width = 96;  // width of the walk that looks for neighbours
  float slack = 1.1f;         // an edge is given up where a kept one ends nearer, squared, by this
  uint64_t seed = 1;
};

// One search. `width` is the effort: how many of the best known nodes are walked from; 16 … 4096.
// On 60,000 sentence embeddings of 384 dimensions, 56 finds 0.955 of the best 10 and 240 finds
// 0.990.
struct GraphQuery {
  RowMask mask = {};
  bool post_filter = false;  // walk as if all rows passed the mask, and answer only those that do
  uint32_t keep = 10;        // candidates wanted
  uint32_t width = 64;
  uint32_t look = 0;        // int8 products at the end; 0: what loses little
  uint32_t visits_max = 0;  // nodes looked at, after which the walk gives up; 0: no limit
};

struct GraphAnswer {
  uint32_t count = 0;    // candidates written
  bool gave_up = false;  // visits_max was reached: the caller scans instead
  uint32_t hops = 0;     // nodes whose edges were followed
  uint32_t visits = 0;   // nodes looked at
};

struct GraphStats {
  uint32_t node_count = 0;     // rows that can be found
  uint32_t removed_count = 0;  // removed, but still in some edges
  uint64_t memory_bytes = 0;   // of the graph alone; CodeTable::memory_bytes is beside it
  uint64_t edge_count = 0;
  uint64_t search_count = 0, hop_count = 0, visit_count = 0;  // since it was made
};

// Memory of walks by one thread; grows with the table and is kept.
class GraphScratch {
 public:
  GraphScratch();
  ~GraphScratch();
  GraphScratch(GraphScratch&&) noexcept;
  GraphScratch& operator=(GraphScratch&&) noexcept;

 private:
  friend class Graph;
  friend class GraphWalk;
  friend class GraphChange;
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

class Graph {
 public:
  // `codes` outlives the graph. Throws out_of_range for options outside their bounds.
  Graph(CodeTable& codes, const GraphOptions& options);
  ~Graph();

  // Makes the graph agree with the table about these rows: what was written is inserted, what was
  // written again is replaced, what was erased is removed. A row may be named twice or hold
  // nothing. On one thread the same calls give the same graph.
  void update(std::span<const uint32_t> rows, uint32_t threads);
  void update(uint32_t row) { update({&row, 1}, 1); }

  // The best min(keep, found) candidates, best first, ties to the lower row. Rows of the mask that
  // the table holds now; rows written but not yet updated are not found. candidates_out [keep].
  GraphAnswer search(const CodeQuery& query, const GraphQuery& what, GraphScratch& scratch,
                     Candidate8* candidates_out) const;

  // Rows that the table holds and the graph was told of, but that no path from the entry points
  // reaches: always none. For tests and audits; no update may run meanwhile.
  std::vector<uint32_t> unreachable() const;
  GraphStats stats() const;  // counts every edge
  // As of the last update; waits for nothing.
  uint64_t memory_bytes() const;

 private:
  friend class GraphWalk;
  friend class GraphChange;
  struct Parts;
  // Repairs the next `count` slots and gives back what no edge leads to any more.
  void sweep(uint64_t count, uint32_t threads);

  CodeTable& codes_;
  GraphOptions options_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace hanse
