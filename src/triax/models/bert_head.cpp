#include "triax/models/bert_head.h"

namespace triax {

int64_t BertHeadConfig::outputs() const {
  switch (head) {
    case BertHead::tokens:
    case BertHead::sequence: return num_labels;
    case BertHead::choice: return 1;
    case BertHead::spans: return 2;
    default: return 0;
  }
}

}  // namespace triax
