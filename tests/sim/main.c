/* The program of worlds: a placeholder until they are there. */
int main(void)
{
	return 0;
}
