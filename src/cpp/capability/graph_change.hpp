// How one thread changes a graph. Internal to this concept.
#pragma once

#include "capability/graph_parts.hpp"

namespace hanse {

// Insertions and repairs may run on several threads at once; removals on one, alone.
class GraphChange {
 public:
  GraphChange(CodeTable& codes, Graph::Parts& parts, const GraphOptions& options,
              GraphScratch& scratch);

  void insert(uint32_t slot);
  // Its children get other parents; it stays in the edges of others until they are repaired.
  void remove(uint32_t slot);
  // Gives the edges of a slot that lead to removed nodes to near neighbours of those.
  void repair(uint32_t slot);

 private:
  uint32_t read_edges(uint32_t slot, std::vector<uint32_t>& out) const;  // nodes only
  void write_edges(uint32_t slot, const std::vector<Near>& to);
  // Squared distances of `memory_.slots` from a slot, nearest first.
  void measure(uint32_t from, std::vector<Near>& near_out);
  int32_t load(uint32_t slot, int8_t* out) const;
  bool occluded(const Near& candidate) const;
  void take(const Near& near);
  // Which of the nodes near `of`, nearest first, it keeps an edge to.
  void choose(uint32_t of, const std::vector<Near>& near);
  void link(uint32_t from, uint32_t to);  // the lock is taken in here
  void link_locked(uint32_t from, uint32_t to);
  bool adopt(uint32_t parent, uint32_t child);  // false where the parent has enough children
  void find_parent(uint32_t slot);
  void become_entry(uint32_t slot);
  void give_entry_away(uint32_t slot);
  void move_child(uint32_t child, uint32_t from);
  bool descends(uint32_t slot, uint32_t from) const;
  uint32_t child_count(uint32_t slot) const;
  void descend_for_room(uint32_t slot, uint32_t from);

  float distance(const CodeFactors& a, const CodeFactors& b, int32_t dot) const {
    return 2 * (a.half_square + b.half_square - a.int8_scale * b.int8_scale * float(dot));
  }

  CodeTable& codes_;
  Graph::Parts& parts_;
  const GraphOptions& options_;
  GraphScratch& scratch_;
  GraphScratch::Memory& memory_;
  uint32_t child_count_max_;
};

}  // namespace hanse
