// Placeholder so that the module builds before its first source.
