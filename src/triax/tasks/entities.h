// Named entities as tags of words, in the schemes of the CoNLL shared tasks: IOB1 (I, B only between
// neighbours of one type; Ramshaw and Marcus 1995), IOB2 (every entity begins with B) and IOBES (E ends
// one, S is one of a single word; also called BIOES, or BILOU with L and U).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace triax::tasks {

enum class TagScheme { iob1, iob2, iobes };

// Words [begin, end) of a sentence.
struct Entity {
  std::string type;
  int64_t begin = 0, end = 0;
  bool operator==(const Entity&) const = default;
  auto operator<=>(const Entity&) const = default;
};

// "B-Chemical" is B of Chemical; what has no hyphen has no type ("O", "B").
struct Tag {
  char prefix = 'O';  // O I B E S
  std::string_view type;
};
// Absent for what is no tag of any scheme. L and U of BILOU are E and S.
std::optional<Tag> parse_tag(std::string_view tag);

// The entities that conlleval finds: a tag that cannot stand where it does (I after O, I of another type)
// begins one, and nothing is lost. Tags that are none count as O.
std::vector<Entity> entities_of(std::span<const std::string> tags);

// Tags of a scheme for `words` words. Entities must not overlap.
std::vector<std::string> tags_of(std::span<const Entity> entities, int64_t words, TagScheme scheme);

// The same entities in another scheme: also what repairs tags that a model put where they cannot stand.
std::vector<std::string> convert_tags(std::span<const std::string> tags, TagScheme scheme);

// The scheme of a whole file: IOBES when an E or S is there, IOB1 when an I begins an entity, else IOB2.
// Sees each sentence once.
class SchemeDetector {
 public:
  void see(std::span<const std::string> tags);
  TagScheme scheme() const { return iobes_ ? TagScheme::iobes : iob1_ ? TagScheme::iob1 : TagScheme::iob2; }

 private:
  bool iobes_ = false, iob1_ = false;
};

}  // namespace triax::tasks
