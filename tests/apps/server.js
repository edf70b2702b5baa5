// A small node server: node server.js PORT
const http = require('http');
http.createServer((req, res) => {
	const parts = [];
	req.on('data', (d) => parts.push(d));
	req.on('end', () => {
		const body = Buffer.concat(parts);
		if (req.url === '/early') {
			res.writeEarlyHints && res.writeEarlyHints({ link: '</a.css>; rel=preload' });
			res.end('final');
		} else if (req.url === '/chunks') {
			for (let i = 0; i < 100; i++) res.write('chunk ' + i + '\n');
			res.addTrailers({ 'X-Sum': '42' });
			res.end();
		} else {
			res.setHeader('Content-Type', 'application/json');
			res.end(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, size: body.length }));
		}
	});
}).listen(parseInt(process.argv[2]), '127.0.0.1');
