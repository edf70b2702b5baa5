/* Replays a corpus through a fuzz target, for builds without libFuzzer: each argument is a file or
 * a directory of files. Each input lies in a block of its exact size, so that ASan sees a read too
 * far. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned ninputs;

static int replay_file(const char *path, size_t size)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p = f ? malloc(size) : NULL;

	if (!f || (size && (!p || fread(p, 1, size, f) != size))) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		if (f)
			fclose(f);
		free(p);
		return 1;
	}
	fclose(f);
	LLVMFuzzerTestOneInput(p, size);
	free(p);
	ninputs++;
	return 0;
}

static int not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int replay_dir(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, not_hidden, alphasort), bad = 0;

	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	for (int i = 0; i < n; i++) {
		struct stat st;
		char *name;

		if (asprintf(&name, "%s/%s", path, names[i]->d_name) < 0)
			abort();
		if (stat(name, &st) == 0 && S_ISREG(st.st_mode))
			bad |= replay_file(name, (size_t)st.st_size);
		free(name);
		free(names[i]);
	}
	free(names);
	return bad;
}

int main(int argc, char **argv)
{
	static const uint8_t nothing[1];
	int bad = 0;

	/* Every target must stand the empty input, corpus or not. */
	LLVMFuzzerTestOneInput(nothing, 0);
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) < 0)
			printf("%s: no such corpus\n", argv[i]);
		else if (S_ISDIR(st.st_mode))
			bad |= replay_dir(argv[i]);
		else
			bad |= replay_file(argv[i], (size_t)st.st_size);
	}
	printf("%u inputs ran\n", ninputs);
	return bad;
}
