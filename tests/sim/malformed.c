#include "malformed.h"

#define FIELD(text) "GET / HTTP/1.1\r\nHost: a\r\n" text "\r\n\r\n"
#define BODY(text)  "POST / HTTP/1.1\r\nHost: a\r\n" text
#define LINE(text)  text "\r\nHost: a\r\n\r\n"
#define ZERO_CHUNK  "\r\n\r\n0\r\n\r\n"

const struct malformed malformed_list[] = {
	{LINE("G\x01T / HTTP/1.1"), 400},
	{"GET / HTTP/1.1\r\n\r\n", 400},
	{FIELD("Host: b"), 400},
	{LINE("GET / HTTP/3.7"), 505},
	{LINE("GET /../../etc HTTP/1.1"), 400},
	{FIELD("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400},
	{BODY("Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"), 400},
	{BODY("Content-Length: -5\r\n\r\n"), 400},
	{BODY("Content-Length: 0x10\r\n\r\n"), 400},
	{BODY("Transfer-Encoding: gzip\r\n\r\n"), 501},
	{BODY("Transfer-Encoding: chunked, chunked" ZERO_CHUNK), 400},
	{FIELD("X : y"), 400},
	{FIELD("X: y\r\n z"), 400},
	{LINE("GET /%zz HTTP/1.1"), 400},
	{"GET /\x7f HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
	/* MALFORMED_FROZEN */
	{LINE("GET  / HTTP/1.1"), 400},
	{LINE("GET / HTTP/1.1 x"), 400},
	{LINE("GET / HTP/1.1"), 400},
	{LINE("GET / http/1.1"), 400},
	{LINE("GET * HTTP/1.1"), 400},
	{LINE("GET http:///x HTTP/1.1"), 400},
	{LINE("OPTIONS / HTTP/2.0"), 505},
	{LINE("TRACE / HTTP/1.1"), 405},
	{"FOO\r\n\r\n", 400},
	{"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
	{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
	{"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
	{"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400},
	{"GET / HTTP/1.0\r\nTransfer-Encoding: chunked" ZERO_CHUNK, 400},
	{FIELD("X"), 400},
	{FIELD("X: a\x01z"), 400},
	{BODY("Content-Length: 5, 5\r\n\r\nabcde"), 400},
	{BODY("Content-Length: +5\r\n\r\nabcde"), 400},
	{BODY("Content-Length: \r\n\r\n"), 400},
	{BODY("Content-Length: 99999999999999999999\r\n\r\n"), 400},
	{BODY("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" ZERO_CHUNK), 400},
	{BODY("Transfer-Encoding: xchunked" ZERO_CHUNK), 501},
	{BODY("Transfer-Encoding: " ZERO_CHUNK), 400},
};
const unsigned malformed_count = sizeof(malformed_list) / sizeof(*malformed_list);
