#include "triax/tasks/token_labels.h"

#include "triax/base/error.h"

namespace triax::tasks {
namespace {

// The tag of the sub-tokens behind the first of a word.
int32_t continued(const std::string& tag, int32_t label, const LabelSet& labels) {
  if (tag.size() < 2 || (tag[0] != 'B' && tag[0] != 'S')) return label;
  const int64_t inside = labels.find((tag[0] == 'B' ? "I" : "E") + tag.substr(1));
  return inside >= 0 ? static_cast<int32_t>(inside) : label;
}

}  // namespace

SubtokenSentence tokenize_words(const Tokenizer& tokenizer, std::span<const std::string> words) {
  const auto unknown = tokenizer.special_tokens().unk;
  SubtokenSentence sentence;
  for (size_t w = 0; w < words.size(); ++w) {
    const size_t before = sentence.ids.size();
    tokenizer.encode(words[w], sentence.ids);
    if (sentence.ids.size() == before) {
      check(unknown.has_value(), "the word \"{}\" has no token, and the vocabulary no token for unknown words", words[w]);
      sentence.ids.push_back(*unknown);
    }
    sentence.first.push_back(static_cast<int32_t>(before));
    sentence.word.resize(sentence.ids.size(), static_cast<int32_t>(w));
    sentence.starts_word.resize(sentence.ids.size(), 0);
    sentence.starts_word[before] = 1;
  }
  return sentence;
}

std::vector<int32_t> subtoken_labels(const SubtokenSentence& sentence, std::span<const std::string> tags,
                                     const LabelSet& labels, SubtokenLabels which) {
  check(tags.size() == sentence.first.size(), "a sentence of {} words has {} tags", sentence.first.size(), tags.size());
  std::vector<int32_t> result(sentence.ids.size(), kNoLabel);
  for (size_t i = 0; i < result.size(); ++i) {
    const std::string& tag = tags[static_cast<size_t>(sentence.word[i])];
    const auto label = static_cast<int32_t>(labels.find(tag));
    check(label >= 0, "the tag \"{}\" is not among the labels", tag);
    if (sentence.starts_word[i]) {
      result[i] = label;
    } else if (which == SubtokenLabels::all) {
      result[i] = continued(tag, label, labels);
    }
  }
  return result;
}

std::vector<std::string> word_tags(const SubtokenSentence& sentence, std::span<const TokenWindow> windows,
                                   std::span<const std::vector<int32_t>> predicted, const LabelSet& labels, TagScheme scheme) {
  const auto best = best_windows(windows, static_cast<int64_t>(sentence.ids.size()));
  std::vector<std::string> tags;
  for (const int32_t first : sentence.first) {
    const auto w = static_cast<size_t>(best[static_cast<size_t>(first)]);
    tags.push_back(labels[predicted[w][static_cast<size_t>(first - windows[w].begin)]]);
  }
  return convert_tags(tags, scheme);
}

}  // namespace triax::tasks
