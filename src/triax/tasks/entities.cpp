#include "triax/tasks/entities.h"

#include <algorithm>

#include "triax/base/error.h"

namespace triax::tasks {
namespace {

Tag tag_or_outside(std::string_view text) { return parse_tag(text).value_or(Tag{}); }

// conlleval's endOfChunk and startOfChunk, with E and S always closing, B and S always opening.
bool ends(const Tag& before, const Tag& tag) {
  if (before.prefix == 'O') return false;
  if (before.prefix == 'E' || before.prefix == 'S') return true;
  return tag.prefix == 'B' || tag.prefix == 'S' || tag.prefix == 'O' || before.type != tag.type;
}

bool begins(const Tag& before, const Tag& tag) {
  if (tag.prefix == 'O') return false;
  if (tag.prefix == 'B' || tag.prefix == 'S') return true;
  return before.prefix == 'O' || before.prefix == 'E' || before.prefix == 'S' || before.type != tag.type;
}

std::string with_type(char prefix, const std::string& type) {
  return type.empty() ? std::string(1, prefix) : std::string(1, prefix) + "-" + type;
}

}  // namespace

std::optional<Tag> parse_tag(std::string_view tag) {
  if (tag.empty() || (tag.size() > 1 && tag[1] != '-')) return std::nullopt;
  char prefix = tag[0];
  if (prefix == 'L') prefix = 'E';
  if (prefix == 'U') prefix = 'S';
  if (std::string_view("OIBES").find(prefix) == std::string_view::npos) return std::nullopt;
  if (prefix == 'O') return tag.size() == 1 ? std::optional<Tag>(Tag{}) : std::nullopt;
  return Tag{prefix, tag.size() > 2 ? tag.substr(2) : std::string_view()};
}

std::vector<Entity> entities_of(std::span<const std::string> tags) {
  std::vector<Entity> entities;
  Tag before;
  bool open = false;
  for (size_t i = 0; i < tags.size(); ++i) {
    const Tag tag = tag_or_outside(tags[i]);
    if (open && ends(before, tag)) {
      entities.back().end = static_cast<int64_t>(i);
      open = false;
    }
    if (begins(before, tag)) {
      entities.push_back({std::string(tag.type), static_cast<int64_t>(i), 0});
      open = true;
    }
    before = tag;
  }
  if (open) entities.back().end = static_cast<int64_t>(tags.size());
  return entities;
}

std::vector<std::string> tags_of(std::span<const Entity> entities, int64_t words, TagScheme scheme) {
  std::vector<std::string> tags(static_cast<size_t>(words), "O");
  std::vector<Entity> sorted(entities.begin(), entities.end());
  std::sort(sorted.begin(), sorted.end(), [](const Entity& a, const Entity& b) { return a.begin < b.begin; });
  const Entity* before = nullptr;
  for (const Entity& e : sorted) {
    check(e.begin >= 0 && e.begin < e.end && e.end <= words, "an entity of words {} to {} does not fit into {} words",
          e.begin, e.end, words);
    check(!before || before->end <= e.begin, "entities overlap at word {}; IOB tags cannot say that", e.begin);
    const bool touches = before && before->end == e.begin && before->type == e.type;
    for (int64_t i = e.begin; i < e.end; ++i) {
      char prefix = i == e.begin && (scheme != TagScheme::iob1 || touches) ? 'B' : 'I';
      if (scheme == TagScheme::iobes && i == e.end - 1) prefix = i == e.begin ? 'S' : 'E';
      tags[static_cast<size_t>(i)] = with_type(prefix, e.type);
    }
    before = &e;
  }
  return tags;
}

std::vector<std::string> convert_tags(std::span<const std::string> tags, TagScheme scheme) {
  return tags_of(entities_of(tags), static_cast<int64_t>(tags.size()), scheme);
}

void SchemeDetector::see(std::span<const std::string> tags) {
  Tag before;
  for (const std::string& text : tags) {
    const Tag tag = tag_or_outside(text);
    iobes_ = iobes_ || tag.prefix == 'E' || tag.prefix == 'S';
    iob1_ = iob1_ || (tag.prefix == 'I' && begins(before, tag));
    before = tag;
  }
}

}  // namespace triax::tasks
