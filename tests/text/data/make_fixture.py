#!/usr/bin/env python3
"""Makes what the tests of byte-level BPE compare with, by the `tokenizers` library:

  corpus.jsonl          documents, one JSON string a line
  bpe/tokenizer.json    learned from them by tokenizers' BpeTrainer; also vocab.json and merges.txt
  bpe_cases.json        texts with their ids
  word_ends.json        digests of where the GPT-2 pattern cuts pseudo-random strings of every kind of
                        character, made by the same generator as in gpt2_pattern_test.cpp

Run in this folder: python make_fixture.py [--corpus to make corpus.jsonl anew].
"""
import glob
import json
import os
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCAB_SIZE = 2000
END = "<|endoftext|>"

POOLS = [
    "abcdefgXYZ", "0123456789", "   \t\n\r\u000b\u000c", "'stremdvl", "!?.,;:-_()[]{}<>|=*&^%$#@~`\"\\/",
    "éüñßøłżÅÇ", "\u0301\u0308\u20dd\u0489", "你好世界日本語の漢字カタカナ", "שלוםمرحبا",
    "🦙🚀😶\u200d🌫️👨‍👩‍👧‍👦🇩🇪", "\x00\x01\x1c\x1d\x1e\x1f\x7f\x80\x85\xa0\xad",
    "\u2000\u2003\u2028\u2029\u202f\u205f\u3000\u1680\u180e\u200b\ufeff", "½²³ⅣⅧ①٣५೬", "ﬁﬂǅΩжд",
    "\U0001d400\U00020000\U000e0001\U0010ffff\ufffd\uffff"]

SENTENCES = [
    "The quick brown fox jumps over the lazy dog; it's what they've said, we'll see.",
    "Die Katze sitzt auf der Fensterbank und schaut den Vögeln draußen zu, während es regnet.",
    "Le cœur a ses raisons que l'été ne connaît pas, où naïveté et façade s'entremêlent.",
    "El niño comió piñas en la montaña, ¿verdad? ¡Qué día más bonito!",
    "В начале было слово, и слово было на русском языке.", "Η γλώσσα είναι το σπίτι της σκέψης.",
    "東京の天気は今日も晴れです。漢字とカタカナとひらがな。", "我想在北京工作，学习自然语言处理。",
    "مرحبا بالعالم، كيف حالك اليوم؟", "שלום עולם, מה שלומך היום?", "नमस्ते दुनिया, आप कैसे हैं?",
    "Tiếng Việt có nhiều dấu thanh.", "안녕하세요 세계", "🚀🚀 to the moon 👩‍🔬👨‍👩‍👧 ✅ done 😀😀",
    "x = y + 42; // 3.14159 and 1,000,000", "p < 0.05, n = 1234 patients (95% CI 0.81–0.97)", "aaaa aaaaaaaa ======== --------",
]


def make_corpus():
    documents = []
    for path in ["../../../LICENSE"] + sorted(glob.glob("../../../src/triax/**/*.h", recursive=True)):
        with open(path, encoding="utf-8") as file:
            documents.append(file.read())
    documents = [d[:4000] for d in documents][:14] + SENTENCES * 3
    with open("corpus.jsonl", "w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")


class Random:
    """A 64-bit linear congruential generator (Knuth's MMIX constants); the same is in the tests."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n


def random_text(random):
    text = ""
    for _ in range(1 + random.below(12)):
        pool = POOLS[random.below(len(POOLS))]
        for _ in range(1 + random.below(6)):
            text += pool[random.below(len(pool))]
        if random.below(3) == 0:
            text += " "
    return text


def random_code_points(random):
    text = ""
    for _ in range(40):
        code = random.below(0x110000) if random.below(2) else random.below(0x3000)
        if 0xD800 <= code < 0xE000:
            code -= 0x800
        text += " '1a\n"[random.below(5)] * random.below(2) + chr(code) * (1 + random.below(2))
    return text


def digest(numbers, state=0xCBF29CE484222325):
    """FNV-1a over numbers, each as one 32-bit step."""
    for number in numbers:
        state = (state ^ number) * 0x100000001B3 % 2**64
    return state


def train():
    with open("corpus.jsonl", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, min_frequency=2, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(documents, trainer)
    os.makedirs("bpe", exist_ok=True)
    tokenizer.save("bpe/tokenizer.json", pretty=False)
    tokenizer.model.save("bpe")
    return tokenizer


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def make_cases(tokenizer):
    random = Random(7)
    texts = SENTENCES + [random_text(random) for _ in range(300)]
    texts += ["", " ", "  ", "\n", "\n\n", " \n ", "a ", " a", "it's'S 'llama 've", "\x00", "a\x00b", "ſ'ſ", "don't", "''''s"]
    cases = [{"text": t, "ids": encode(tokenizer, t)} for t in texts if END not in t]
    repeated = []
    for unit in ["a", "=", " ", "\n", "ab", "é", "你", "the", "-=", "1", "📦", "\u0301"]:
        for times in (2, 3, 7, 8, 9, 15, 16, 17, 40, 95, 96, 97, 98, 500, 2000):
            ids = encode(tokenizer, unit * times)
            repeated.append({"unit": unit, "times": times, "count": len(ids), "digest": f"{digest(ids):016x}"})
    special = [{"text": t, "ids": encode(tokenizer, t)}
               for t in [END, END + END, "a" + END + " b", " " + END + "\n\n" + END, "<|endoftext", "x<|endoftext|>|>"]]
    batches = []
    for seed in range(20):
        random = Random(1000 + seed)
        state = digest([])
        for _ in range(50):
            state = digest(encode(tokenizer, random_text(random)), state)
        batches.append(f"{state:016x}")
    with open("bpe_cases.json", "w", encoding="utf-8") as file:
        json.dump({"pools": [list(p) for p in POOLS], "cases": cases, "repeated": repeated, "special": special,
                   "random_batches": batches}, file, ensure_ascii=False, separators=(",", ":"))


def make_word_ends():
    split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    batches = []
    for seed in range(100):
        random = Random(5000 + seed)
        state = digest([])
        for _ in range(50):
            text = random_code_points(random)
            at, ends = 0, []
            for word, _ in split(text):
                at += len(word)  # one character a byte
                ends.append(at)
            state = digest(ends, state)
        batches.append(f"{state:016x}")
    with open("word_ends.json", "w", encoding="utf-8") as file:
        json.dump(batches, file, separators=(",", ":"))


if __name__ == "__main__":
    if "--corpus" in sys.argv:
        make_corpus()
    make_cases(train())
    make_word_ends()
